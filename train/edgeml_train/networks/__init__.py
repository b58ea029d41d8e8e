"""Small networks of this field, built by functions that return plain modules."""

from edgeml_train.networks.count import count_parameters
from edgeml_train.networks.digit_cnn import digit_cnn
from edgeml_train.networks.ds_cnn import ds_cnn
from edgeml_train.networks.pool import GlobalAveragePool

__all__ = ["GlobalAveragePool", "count_parameters", "digit_cnn", "ds_cnn"]
