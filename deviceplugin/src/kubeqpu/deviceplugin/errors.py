"""What can go wrong in the device plugin. None of it ends the process but wrong settings."""


class DevicePluginError(Exception):
    """Base of the errors of this component."""


class ConfigurationError(DevicePluginError):
    """Wrong settings; the message says which and what to do."""


class UnknownSlotError(DevicePluginError):
    """The kubelet chose a slot that cannot be given away."""


class CredentialsError(DevicePluginError):
    """The token or the gateways' authority cannot be read."""


class ProtocolError(DevicePluginError):
    """A gateway or the kubelet answered something that makes no sense."""
