"""The Adroit scenes as the specification gives them: sizes, poses, cameras, actions, resets, rewards, files."""

import shutil
from importlib.machinery import ModuleSpec

import mujoco
import numpy as np
import pytest
from scipy import stats

import tasks
from tasks import door, hammer, pen, relocate_ball
from tasks.base import norm
from tasks.errors import AssetError, TaskError, UnknownTask
from tasks.scene import hand

NAMES = ["hammer", "door", "pen", "relocate"]
ARM_JOINTS = ["ARTx", "ARTy", "ARTz", "ARRx", "ARRy", "ARRz"]
HAND_JOINTS = [
    *("WRJ1", "WRJ0", "FFJ3", "FFJ2", "FFJ1", "FFJ0", "MFJ3", "MFJ2", "MFJ1", "MFJ0", "RFJ3", "RFJ2", "RFJ1", "RFJ0"),
    *("LFJ4", "LFJ3", "LFJ2", "LFJ1", "LFJ0", "THJ4", "THJ3", "THJ2", "THJ1", "THJ0"),
]
OBJECT_JOINTS = ["OBJTx", "OBJTy", "OBJTz", "OBJRx", "OBJRy", "OBJRz"]
RESETS = 10_000


@pytest.fixture(scope="module")
def made():
    """Each task with four slots, made once; a test that needs a certain state resets it."""
    return {name: tasks.make(name, slots=4) for name in NAMES}


# Sizes and order.


@pytest.mark.parametrize(
    ("name", "sizes", "observation_dim", "proprioception"),
    [
        ("hammer", (33, 33, 26), 46, slice(2, 26)),
        ("door", (30, 30, 28), 39, slice(4, 28)),
        ("pen", (30, 30, 24), 45, slice(0, 24)),
        ("relocate", (36, 36, 30), 39, slice(0, 30)),
    ],
)
def test_sizes(made, name, sizes, observation_dim, proprioception):
    task = made[name]
    reading = task.reset(range(4))
    assert (task.model.nq, task.model.nv, task.model.nu) == sizes
    assert (task.card.observation_dim, task.card.action_dim) == (observation_dim, sizes[2])
    assert reading.observation.shape == (4, observation_dim)
    np.testing.assert_array_equal(reading.proprioception, task.batch.bind("qpos")[:, proprioception])
    assert task.card.proprioception_dim == reading.proprioception.shape[1]


@pytest.mark.parametrize(
    ("name", "arm", "things"),
    [
        ("hammer", ["ARRx", "ARRy"], ["nail_dir", *OBJECT_JOINTS]),
        ("door", ["ARTz", "ARRx", "ARRy", "ARRz"], ["door_hinge", "latch"]),
        ("pen", [], OBJECT_JOINTS),
        ("relocate", ARM_JOINTS, OBJECT_JOINTS),
    ],
)
def test_joints_and_actuators_stand_in_the_specified_order(made, name, arm, things):
    model = made[name].model
    assert [model.joint(i).name for i in range(model.njnt)] == [*arm, *HAND_JOINTS, *things]
    assert [model.actuator(i).name for i in range(model.nu)] == [f"A_{joint}" for joint in [*arm, *HAND_JOINTS]]


@pytest.mark.parametrize("name", NAMES)
def test_control_step_is_a_hundredth_of_a_second(made, name):
    task = made[name]
    task.reset(range(4))
    task.step(np.zeros((4, task.card.action_dim)))
    np.testing.assert_allclose(task.batch.bind("time"), 0.01)


@pytest.mark.parametrize("name", NAMES)
def test_observation_holds_what_the_specification_lists(made, name):
    """Checked in motion, against poses read by name from the simulation."""
    task = made[name]
    task.reset(range(4))
    for _ in range(5):
        observation = task.step(np.random.default_rng(0).uniform(-1, 1, (4, task.card.action_dim))).observation
    qpos, qvel = task.batch.bind("qpos"), task.batch.bind("qvel")
    site, body = (lambda site: task.batch.site(site).xpos), (lambda body: task.batch.body(body).xpos)
    if name == "hammer":
        rotation = task.batch.body("Object").xmat.reshape(-1, 3, 3)
        touch = np.clip(task.batch.bind("sensordata")[:, task.model.sensor("S_nail").adr], -1, 1)
        angles = hammer.euler_angles(rotation)
        velocity = np.clip(qvel[:, 27:33], -1, 1)
        parts = [qpos[:, :27], velocity, site("S_grasp"), body("Object"), angles, site("S_target"), touch]
    elif name == "door":
        palm, handle = site("S_grasp"), site("S_handle")
        half_open = np.where(qpos[:, 28:29] > 1.0, 1.0, -1.0)
        parts = [qpos[:, 1:28], qpos[:, 29:30], qpos[:, 28:29], palm, handle, palm - handle, half_open]
    elif name == "relocate":
        palm, ball, target = site("S_grasp"), body("Object"), site("target")
        parts = [qpos[:, :-6], palm - ball, palm - target, ball - target]
    else:
        axis = (site("object_top") - site("object_bottom")) / 0.13
        target = (site("target_top") - site("target_bottom")) / 0.13
        offset = body("Object") - site("eps_ball")
        parts = [qpos[:, :24], body("Object"), qvel[:, 24:30], axis, target, offset, axis - target]
    np.testing.assert_array_equal(observation, np.concatenate(parts, axis=1))


def test_euler_angles_are_intrinsic_x_y_z():
    angles = np.random.default_rng(0).uniform(-1.5, 1.5, (50, 3))
    matrices = np.empty((50, 9))
    for angle, matrix in zip(angles, matrices, strict=True):
        quaternion = np.empty(4)
        mujoco.mju_euler2Quat(quaternion, angle, "xyz")
        mujoco.mju_quat2Mat(matrix, quaternion)
    np.testing.assert_allclose(hammer.euler_angles(matrices.reshape(-1, 3, 3)), angles, atol=1e-12)


def test_euler_angles_stay_defined_where_the_middle_one_is_a_right_angle():
    upright = np.array([[[0.0, 0.0, 1.0], [0.6, 0.8, 1e-17], [-0.8, 0.6, -1e-17]]])
    np.testing.assert_allclose(hammer.euler_angles(upright), [[0.0, np.pi / 2, np.arctan2(0.6, 0.8)]])


# Poses and cameras.


@pytest.mark.parametrize(
    ("name", "palm"),
    [
        *((name, (-0.0069, -0.2, 0.1504)) for name in ("hammer", "door", "relocate")),
        ("pen", (0.007, -0.2, 0.2504)),
    ],
)
def test_palm_after_reset(made, name, palm):
    task = made[name]
    sites = task.batch.site("S_grasp").xpos
    task.reset(range(4))
    np.testing.assert_allclose(sites, np.tile(palm, (4, 1)), atol=1e-4)


@pytest.mark.parametrize(
    ("name", "camera", "position", "forward", "up"),
    [
        ("hammer", "top", (0, 0, 1.1), (0, 0, -1), (0, -1, 0)),
        ("door", "top", (0, 0, 1.5), (0, 0, -1), (0, -1, 0)),
        ("pen", "vil_camera", (0, -0.8, 0.8), (0, 0.7071, -0.7071), (0, 0.7071, 0.7071)),
        ("relocate", "vil_camera", (0, -1.2, 1.2), (0, 0.7071, -0.7071), (0, 0.7071, 0.7071)),
    ],
)
def test_camera_of_the_policy(made, name, camera, position, forward, up):
    model = made[name].model
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    view, rotation = data.camera(camera), data.camera(camera).xmat.reshape(3, 3)
    assert made[name].card.camera == camera
    assert model.camera(camera).fovy == 45
    np.testing.assert_allclose(view.xpos, position, atol=1e-4)
    np.testing.assert_allclose(-rotation[:, 2], forward, atol=1e-4)
    # The released angle of the cameras `top` is 3.14, not pi: up is off by 1.6 mrad.
    np.testing.assert_allclose(rotation[:, 1], up, atol=2e-3)


def test_top_cameras_keep_the_released_orientation(made):
    for name in ("hammer", "door"):
        np.testing.assert_allclose(made[name].model.camera("top").quat, (0.000796, 0, 0, 1), atol=1e-6)


def test_pen_and_target_are_opaque(made):
    for geom in ("pen", "target"):
        assert made["pen"].model.geom(geom).rgba[3] == 1


# Actions.


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("action", "end"), [(0.0, None), (-1.0, 0), (1.0, 1), (-3.7, 0), (1e9, 1), (-np.inf, 0)])
def test_actions_map_onto_the_control_ranges_and_are_clipped(made, name, action, end):
    task = made[name]
    task.reset(range(4))
    task.step(np.full((4, task.card.action_dim), action))
    ranges = task.model.actuator_ctrlrange
    expected = ranges.mean(axis=1) if end is None else ranges[:, end]
    np.testing.assert_allclose(task.batch.bind("ctrl"), np.tile(expected, (4, 1)), rtol=1e-15, atol=1e-15)


def test_control_ranges_of_the_hand(made):
    ranges = {"A_WRJ1": (-0.524, 0.175), "A_FFJ2": (0, 1.6), "A_LFJ4": (0, 0.7), "A_THJ4": (-1, 1)}
    for name in NAMES:
        for actuator, expected in ranges.items():
            np.testing.assert_allclose(made[name].model.actuator(actuator).ctrlrange, expected)


# Resets.


def drawn(task):
    """What 10,000 resets draw, in the quantities that the specification gives ranges for: (n, k)."""
    fields = np.stack([task.draw(np.random.default_rng(seed)).field for seed in range(RESETS)])
    return angles_of(fields) if task.card.name == "pen" else fields


def angles_of(quaternions):
    """The angles a, b of a rotation Rx(a) Ry(b), from its axis (sin b, -sin a cos b, cos a cos b)."""
    axes = np.empty((len(quaternions), 3))
    for axis, quaternion in zip(axes, quaternions, strict=True):
        mujoco.mju_rotVecQuat(axis, [0.0, 0.0, 1.0], quaternion)
    return np.stack([np.arctan2(-axes[:, 1], axes[:, 2]), np.arcsin(axes[:, 0])], axis=1)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("hammer", (0.05, 0, 0.10), (0.05, 0, 0.25)),
        ("door", (-0.3, 0.25, 0.252), (-0.2, 0.35, 0.35)),
        ("pen", (-1, -1), (1, 1)),
        ("relocate", (-0.15, -0.15, 0.035, -0.2, -0.2, 0.25), (0.15, 0.30, 0.035, 0.2, 0.2, 0.25)),
    ],
)
def test_resets_stay_inside_the_ranges_and_fill_them(made, name, low, high):
    values, low, high = drawn(made[name]), np.array(low), np.array(high)
    assert (values >= low - 1e-12).all()
    assert (values <= high + 1e-12).all()
    vary = high > low
    np.testing.assert_array_equal(values[:, ~vary], np.broadcast_to(low[~vary], (RESETS, (~vary).sum())))
    uniform = (values[:, vary] - low[vary]) / (high - low)[vary]
    assert (uniform.min(axis=0) < 0.002).all()
    assert (uniform.max(axis=0) > 0.998).all()
    for column in uniform.T:
        assert stats.kstest(column, "uniform").pvalue > 0.01
    correlation = np.atleast_2d(np.corrcoef(uniform.T))
    assert np.abs(correlation - np.eye(len(correlation))).max() < 0.04


@pytest.mark.parametrize("name", NAMES)
def test_resets_move_the_drawn_body_in_the_simulation(name):
    """The poses that the simulator computes are the drawn ones; nothing else differs between seeds."""
    task = tasks.make(name, slots=200)
    task.reset(range(1000, 1200))
    poses = {
        "body_pos": lambda of: task.batch.body(of).xpos,
        "body_quat": lambda of: task.batch.body(of).xquat,
        "site_pos": lambda of: task.batch.site(of).xpos,
    }
    fields = np.stack([task.draw(np.random.default_rng(seed)).field for seed in range(1000, 1200)])
    found = np.concatenate([poses[placed.field](placed.of) for placed in task.placed()], axis=1)
    np.testing.assert_allclose(found, fields, atol=1e-12)
    assert len(np.unique(fields, axis=0)) == 200
    assert np.ptp(task.batch.bind("qpos"), axis=0).max() == 0
    assert not task.batch.bind("qvel").any()


@pytest.mark.parametrize("name", NAMES)
def test_a_reset_leaves_nothing_of_the_episode_before(made, name):
    task = made[name]
    fresh = tasks.make(name, slots=4)
    task.reset([7, 8, 9, 10])
    for _ in range(10):
        task.step(np.ones((4, task.card.action_dim)))
    np.testing.assert_array_equal(task.reset([1, 2, 3, 4]).observation, fresh.reset([1, 2, 3, 4]).observation)
    for _ in range(5):
        actions = np.full((4, task.card.action_dim), 0.3)
        np.testing.assert_array_equal(task.step(actions).observation, fresh.step(actions).observation)


# Rewards.


@pytest.mark.parametrize(("distance", "reward"), [(0.1, -1.0), (0.03, -0.3), (0.015, 24.85), (0.005, 99.95)])
def test_hammer_reward(distance, reward):
    np.testing.assert_allclose(hammer.sparse_reward(np.array([distance])), [reward])


@pytest.mark.parametrize(("height", "lifted"), [(0.05, 2.0), (0.03, 0.0)])
def test_hammer_dense_terms(height, lifted):
    """The palm 5 m from the hammer, the tool 13 m from the nail, a speed of 2."""
    position, tool, qvel = np.array([[0.0, 0.0, height]]), np.array([[0.0, 0.0, 0.06]]), np.ones((1, 4))
    palm, target = position + np.array([3.0, 4.0, 0.0]), tool + np.array([0.0, 12.0, 5.0])
    np.testing.assert_allclose(hammer.dense_terms(palm, position, tool, target, qvel), [-0.5 - 13.0 - 0.02 + lifted])


@pytest.mark.parametrize(
    ("hinge", "reward"),
    [(0.0, -0.24649), (0.3, 2 - 0.16129), (1.0, 2 - 0.03249), (1.2, 10 - 0.01369), (1.4, 19.99711)],
)
def test_door_reward(hinge, reward):
    np.testing.assert_allclose(door.sparse_reward(np.array([hinge])), [reward])


@pytest.mark.parametrize(
    ("distance", "cosine", "reward"), [(0.0, 1.0, 50), (0.074, 0.951, 50), (0.076, 1.0, 0), (0.0, 0.95, 0), (0, -1, 0)]
)
def test_pen_reward(distance, cosine, reward):
    assert pen.sparse_reward(np.array([distance]), np.array([cosine])) == [reward]


@pytest.mark.parametrize(("distance", "reward"), [(0.11, 0), (0.1, 0), (0.09, 10), (0.05, 10), (0.04, 30)])
def test_relocate_bonuses(distance, reward):
    assert relocate_ball.sparse_reward(np.array([distance])) == [reward]


@pytest.mark.parametrize(("height", "lifted"), [(0.04, 0.0), (0.05, 1.0 - 0.5 * 13.0 - 0.5 * 15.0)])
def test_relocate_dense_terms(height, lifted):
    """The palm 14 m from the ball and 13 m from the target, the ball 15 m from the target: Heron's triangle."""
    ball, palm, target = np.array([[[0.0, 0.0, height]], [[14.0, 0.0, height]], [[9.0, 12.0, height]]])
    np.testing.assert_allclose(relocate_ball.dense_terms(palm, ball, target), [-1.4 + lifted])


def test_the_released_reward_of_relocate_is_the_dense_one():
    """The release's sparse switch is off here, unlike in hammer, door and pen."""
    paper, dense = (tasks.make("relocate", reward=reward) for reward in ("paper", "dense"))
    for task in (paper, dense):
        task.reset([5])
    actions = np.full((1, 30), 0.2)
    assert paper.step(actions).reward == dense.step(actions).reward < 0


@pytest.mark.parametrize("name", NAMES)
def test_dense_rewards_add_their_terms_to_the_sparse_ones(name):
    least = "sparse" if name == "relocate" else "paper"
    sparse, dense = (tasks.make(name, slots=3, reward=reward) for reward in (least, "dense"))
    site, qvel = (lambda site: dense.batch.site(site).xpos), dense.batch.bind("qvel")
    sparse.reset(range(3)), dense.reset(range(3))
    for actions in np.random.default_rng(1).uniform(-1, 1, (8, 3, dense.card.action_dim)):
        plain, shaped = sparse.step(actions), dense.step(actions)
        if name == "hammer":
            position = dense.batch.body("Object").xpos
            terms = hammer.dense_terms(site("S_grasp"), position, site("tool"), site("S_target"), qvel)
        elif name == "door":
            terms = -0.1 * norm(site("S_grasp") - site("S_handle")) - 1e-5 * (qvel**2).sum(axis=1)
        elif name == "relocate":
            terms = relocate_ball.dense_terms(site("S_grasp"), dense.batch.body("Object").xpos, site("target"))
        else:
            distance, cosine = norm(plain.observation[:, 39:42]), plain.goal_measurement
            dropped = plain.observation[:, 26] < 0.075
            terms = cosine - distance + 10 * ((distance < 0.075) & (cosine > 0.9)) - 5 * dropped
        np.testing.assert_allclose(shaped.reward - plain.reward, terms, rtol=1e-9, atol=1e-12)
        np.testing.assert_array_equal(plain.goal, shaped.goal)
        np.testing.assert_array_equal(plain.observation, shaped.observation)


def placed(task, joint, value):
    """The reading with one joint of slot 0 moved."""
    state = task.initial_state(0)
    state["qpos"][task.model.joint(joint).qposadr] = value
    return task.restore([state], [0])


@pytest.mark.parametrize(("hinge", "goal"), [(1.36, False), (1.41, True)])
def test_door_goal_in_the_simulation(made, hinge, goal):
    reading = placed(made["door"], "door_hinge", hinge)
    assert reading.goal_measurement == [hinge]
    assert reading.goal == [goal]
    assert not reading.terminated.any()


@pytest.mark.parametrize(("depth", "goal"), [(0.0, False), (0.085, True)])
def test_hammer_goal_in_the_simulation(made, depth, goal):
    reading = placed(made["hammer"], "nail_dir", depth)
    assert reading.goal == [goal]
    assert (reading.goal_measurement < 0.01) == [goal]
    assert not reading.terminated.any()


@pytest.mark.parametrize(("distance", "goal"), [(0.099, True), (0.101, False)])
def test_relocate_goal_in_the_simulation(made, distance, goal):
    """The ball beside its target."""
    task = made["relocate"]
    task.reset(range(4))
    state = task.initial_state(0)
    reading = task.restore([state | {"obj_pos": state["target_pos"] + [0.0, distance, 0.0]}], [0])
    assert reading.goal == [goal]
    np.testing.assert_allclose(reading.goal_measurement, [distance])
    assert not reading.terminated.any()


@pytest.mark.parametrize(("drop", "terminated"), [(0.17, False), (0.18, True)])
def test_dropped_pen_terminates(made, drop, terminated):
    """It starts at a height of 0.25 m; its own x axis points down."""
    made["pen"].reset(range(4))
    assert placed(made["pen"], "OBJTx", drop).terminated == [terminated]


def test_pen_goal_needs_no_nearness_but_the_reward_does(made):
    task = made["pen"]
    task.reset(range(4))
    aligned = task.initial_state(0) | {"desired_orien": [np.cos(np.pi / 4), 0.0, np.sin(np.pi / 4), 0.0]}
    near = task.restore([aligned], [0])
    aligned["qpos"][task.model.joint("OBJTz").qposadr] = 0.1
    far = task.restore([aligned], [0])
    assert (near.goal, far.goal) == ([True], [True])
    assert (near.reward, far.reward) == ([50.0], [0.0])


# Physics.


@pytest.mark.parametrize("name", NAMES)
def test_native_physics_keeps_the_engines_margins_and_collisions(made, name):
    paper, native = made[name].model, tasks.make(name, physics="native").model
    off = mujoco.mjtDisableBit.mjDSBL_NATIVECCD | mujoco.mjtDisableBit.mjDSBL_MULTICCD
    assert paper.opt.disableflags & off == off
    assert not native.opt.disableflags & off
    assert (paper.opt.ccd_iterations, paper.geom_margin.max()) == (50, 0.00025)
    assert native.geom_margin.max() == 0.0005
    for same in ("body_mass", "body_inertia", "geom_friction", "actuator_gainprm", "jnt_range", "dof_damping"):
        np.testing.assert_array_equal(getattr(paper, same), getattr(native, same))


@pytest.mark.parametrize(("name", "in_contact"), [("hammer", True), ("pen", True), ("door", False), ("relocate", True)])
def test_native_physics_differs_in_contact_only(name, in_contact):
    """Hammer and ball lie on the table and the pen on the hand; at first nothing touches the door."""
    both = [tasks.make(name, physics=physics) for physics in ("paper", "native")]
    idle = np.zeros((1, both[0].card.action_dim))
    for task in both:
        task.reset([0])
    for _ in range(5):
        readings = [task.step(idle) for task in both]
    paper, native = (reading.observation for reading in readings)
    assert (np.abs(paper - native).max() > 1e-6) == in_contact


@pytest.mark.parametrize("name", NAMES)
def test_solver_options(made, name):
    option = made[name].model.opt
    assert option.timestep == 0.002
    assert (option.iterations, option.noslip_iterations) == (20, 20)
    assert option.cone == mujoco.mjtCone.mjCONE_PYRAMIDAL
    assert option.solver == mujoco.mjtSolver.mjSOL_NEWTON
    assert option.integrator == mujoco.mjtIntegrator.mjINT_EULER
    np.testing.assert_array_equal(option.gravity, (0, 0, -9.81))


# What is refused.


def test_relocate_has_three_rewards():
    with pytest.raises(TaskError, match="relocate: reward is 'paper' or 'dense' or 'sparse', got 'shaped'"):
        tasks.make("relocate", reward="shaped")


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"slots": 0}, "slots"),
        ({"threads": 0}, "threads"),
        ({"physics": "real"}, "physics"),
        ({"reward": "shaped"}, "reward"),
        ({"reward": "sparse"}, "reward"),
        ({"objects": "real"}, "'builtin' or 'ycb', got 'real'"),
    ],
)
def test_wrong_options_are_refused(options, names):
    with pytest.raises(TaskError, match=names) as refusal:
        tasks.make("door", **options)
    assert one_line(refusal).startswith("door: ")


def test_unknown_task_gets_a_suggestion():
    with pytest.raises(UnknownTask, match="did you mean 'hammer'") as refusal:
        tasks.make("hamer")
    one_line(refusal)
    with pytest.raises(UnknownTask, match="hammer, door, pen, pour, place_inside, relocate-mug"):
        tasks.card("xyzzy")


@pytest.mark.parametrize(
    ("use", "says"),
    [
        (lambda task, state: task.reset([1, 2]), "2 seeds for 4 slots"),
        (lambda task, state: task.reset([1, 2], [3, 1]), "ascend"),
        (lambda task, state: task.reset([1, 2], [1, 1]), "ascend"),
        (lambda task, state: task.reset([1], [4]), "0 to 3"),
        (lambda task, state: task.reset([1], [-1]), "0 to 3"),
        (lambda task, state: task.step(np.full((4, 28), np.nan)), "not a number"),
        (lambda task, state: task.restore([state]), "1 initial states for 4 slots"),
        (lambda task, state: task.restore([{"qpos": state["qpos"]}], [0]), "'qvel' with 30 numbers, got 0"),
        (lambda task, state: task.restore([state | {"qpos": np.zeros(29)}], [0]), "'qpos' with 30 numbers, got 29"),
        (lambda task, state: task.restore([state | {"door_body_pos": [1]}], [0]), "'door_body_pos' with 3 numbers"),
    ],
)
def test_wrong_use_is_refused_and_changes_nothing(made, use, says):
    task = made["door"]
    before = task.batch.state.copy()
    with pytest.raises(TaskError, match=says) as refusal:
        use(task, task.initial_state(0))
    one_line(refusal)
    np.testing.assert_array_equal(task.batch.state, before)


def one_line(refusal):
    message = str(refusal.value)
    assert message
    assert "\n" not in message
    return message


@pytest.fixture
def forget_folder():
    hand.folder.cache_clear()
    yield
    hand.folder.cache_clear()


def test_installed_hand_files_are_the_known_ones(forget_folder):
    assert hand.files_sha256(hand.folder()) == hand.FILES_SHA256


def test_changed_hand_files_are_refused_by_name(monkeypatch, tmp_path, forget_folder):
    copy = tmp_path / "envs" / "assets" / "adroit_hand"
    shutil.copytree(hand.folder(), copy)
    assert hand.files_sha256(copy) == hand.FILES_SHA256
    scene = copy / "adroit_door.xml"
    scene.write_text(scene.read_text().replace("frictionloss", "frictionloss ", 1))
    hand.folder.cache_clear()
    package = ModuleSpec("gymnasium_robotics", None, is_package=True)
    package.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: package)
    with pytest.raises(AssetError, match="pip install") as refusal:
        hand.load_scene("adroit_door.xml", "paper")
    assert str(copy) in one_line(refusal)


def test_missing_hand_files_are_named(monkeypatch, forget_folder):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(AssetError, match="pip install 'gymnasium-robotics") as refusal:
        hand.folder()
    one_line(refusal)
