"""Measure encoders and the stages of a rollout, and predict how long runs take."""
