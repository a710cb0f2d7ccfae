"""The main job on one machine: circuits too wide for the QPUs at hand, cut, run and put together."""
