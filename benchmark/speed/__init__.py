"""How fast this machine is: its encoders, the stages of a rollout, and what a run will take."""
