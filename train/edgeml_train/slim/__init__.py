"""Slimming: a trained network loses whole channels, until budgets are met or a share is left."""

from edgeml_train.slim.channels import ChannelGroup, Channels, find_channels
from edgeml_train.slim.result import Slimming, SlimRequest
from edgeml_train.slim.shape import NetworkShape

__all__ = ["ChannelGroup", "Channels", "NetworkShape", "SlimRequest", "Slimming", "find_channels"]
