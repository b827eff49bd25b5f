"""The value baseline: a regression of discounted returns on the observation and the time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from .policy import fresh_linear

OBSERVATION_CLIP = 10.0
TIME_UNIT = 1000.0
TIME_POWERS = 4
PREDICTION_ROWS = 512


class ValueBaseline:
    """A ReLU network on `[clip(observation, ±10) / 10, t, t², t³, t⁴]`, with the Adam that trains it.

    Args:
        observation_dim: Length D of an observation.
        hidden: Widths of the ReLU layers.
        learning_rate: Adam's.
        weight_decay: Adam's, added to the gradient.
        generator: CPU generator the initial weights are drawn from.
        device: Where network and optimiser live.
        dtype: Of the network.

    Source: released H-InDex training.
    """

    def __init__(
        self,
        observation_dim: int,
        hidden: Sequence[int] = (128, 128),
        *,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-3,
        generator: torch.Generator,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Draw the initial weights and make an optimiser that has not stepped yet."""
        widths = (observation_dim + TIME_POWERS, *hidden)
        layers: list[nn.Module] = []
        for width, following in zip(widths, hidden, strict=False):
            layers += [fresh_linear(width, following, generator), nn.ReLU()]
        layers.append(fresh_linear(widths[-1], 1, generator))
        self.network = nn.Sequential(*layers).to(device=device, dtype=dtype)
        # Fused on a CPU alone, where it saves more time than the passes over the data take; on a GPU it would keep its
        # step count there.
        fused = torch.device(device).type == "cpu"
        parameters = self.network.parameters()
        self.optimiser = torch.optim.Adam(parameters, lr=learning_rate, weight_decay=weight_decay, fused=fused)

    def features(self, observations: Tensor, steps: Tensor) -> Tensor:
        """Return the network's input (N, D + 4) for observations (N, D) and step indices (N,) from 0."""
        time = steps.double().div(TIME_UNIT).unsqueeze(1)
        powers = [(time**power).to(observations.dtype) for power in range(1, TIME_POWERS + 1)]
        features = observations.new_empty(len(observations), observations.shape[1] + TIME_POWERS)
        clipped, times = features[:, :-TIME_POWERS], features[:, -TIME_POWERS:]
        torch.clamp(observations, -OBSERVATION_CLIP, OBSERVATION_CLIP, out=clipped).div_(OBSERVATION_CLIP)
        torch.cat(powers, dim=1, out=times)
        return features

    @torch.no_grad()
    def predict(self, observations: Tensor, steps: Tensor) -> Tensor:
        """Return the values (N,) of observations (N, D) met at steps (N,), a block of rows at a time."""
        values = observations.new_empty(len(observations))
        parts = (tensor.split(PREDICTION_ROWS) for tensor in (observations, steps, values))
        for seen, at, out in zip(*parts, strict=True):
            out.copy_(self.network(self.features(seen, at)).squeeze(1))
        return values

    def fit(
        self,
        observations: Tensor,
        steps: Tensor,
        returns: Tensor,
        *,
        epochs: int,
        batch_size: int,
        generator: torch.Generator,
    ) -> list[float]:
        """Regress the returns by minibatches without replacement.

        An epoch takes `floor(N / batch_size) - 1` steps: none at all below two minibatches of data.

        Args:
            observations: (N, D) on the network's device.
            steps: (N,) step indices from 0, there as well.
            returns: (N,) discounted returns, there as well.
            epochs: Passes over the data.
            batch_size: Rows a minibatch.
            generator: CPU generator of the order.

        Returns:
            The mean minibatch loss (squared error) of each epoch; empty when the data are too few.

        Source: released H-InDex training, which drops the last partial minibatch and one more.
        """
        minibatches = len(returns) // batch_size - 1
        if minibatches < 1:
            return []
        losses = []
        for _ in range(epochs):
            order = torch.randperm(len(returns), generator=generator).to(returns.device)
            total = torch.zeros((), dtype=returns.dtype, device=returns.device)
            for rows in order[: minibatches * batch_size].split(batch_size):
                predictions = self.network(self.features(observations[rows], steps[rows])).squeeze(1)
                loss = nn.functional.mse_loss(predictions, returns[rows])
                self.optimiser.zero_grad()
                loss.backward()
                self.optimiser.step()
                total += loss.detach()
            losses.append(float(total) / minibatches)
        return losses

    def state_tensors(self) -> dict[str, Tensor]:
        """Return copies on the CPU of all that a resumed run needs: weights and Adam's state.

        Keys are `network.<parameter>` and, once Adam has stepped, `optimiser.<parameter>.<entry>`.
        """
        state = {}
        for name, parameter in self.network.named_parameters():
            state[f"network.{name}"] = parameter
            for entry, tensor in self.optimiser.state.get(parameter, {}).items():
                state[f"optimiser.{name}.{entry}"] = tensor
        return {name: tensor.detach().to("cpu", copy=True) for name, tensor in state.items()}

    @torch.no_grad()
    def load_state_tensors(self, state: Mapping[str, Tensor]) -> None:
        """Restore exactly what `state_tensors` returned; nothing changes when it does not fit.

        Raises:
            ValueError: If names or shapes are not this baseline's.
        """
        parameters = dict(self.network.named_parameters())
        entries = ("step", "exp_avg", "exp_avg_sq")
        expected = {f"network.{name}": parameter.shape for name, parameter in parameters.items()}
        stepped = any(name.startswith("optimiser.") for name in state)
        if stepped:
            for name, parameter in parameters.items():
                shapes = (torch.Size([]), parameter.shape, parameter.shape)
                expected |= {f"optimiser.{name}.{entry}": shape for entry, shape in zip(entries, shapes, strict=True)}
        found = {name: tensor.shape for name, tensor in state.items()}
        if found != expected:
            wrong = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
            raise ValueError(
                f"value baseline state does not fit this network at {', '.join(wrong)}; "
                "load a checkpoint of the same observation length and hidden widths"
            )
        self.optimiser.state.clear()
        for name, parameter in parameters.items():
            parameter.copy_(state[f"network.{name}"])
            if stepped:
                step, *moments = (state[f"optimiser.{name}.{entry}"] for entry in entries)
                restored = [moment.to(parameter, copy=True) for moment in moments]
                # Adam keeps its step count on the CPU wherever the parameters live.
                self.optimiser.state[parameter] = dict(zip(entries, (step.clone(), *restored), strict=True))
