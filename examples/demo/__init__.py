"""The main job on one machine: circuits too wide for their QPUs are cut, run and put together."""
