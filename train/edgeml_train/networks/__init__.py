"""Small networks of this field, built by functions that return plain modules."""

from edgeml_train.networks.autoencoder import dense_autoencoder
from edgeml_train.networks.count import count_parameters
from edgeml_train.networks.digit_cnn import digit_cnn
from edgeml_train.networks.ds_cnn import ds_cnn
from edgeml_train.networks.mlp import mlp
from edgeml_train.networks.mobilenet_v1 import mobilenet_v1
from edgeml_train.networks.pool import GlobalAveragePool
from edgeml_train.networks.pretrained import load_pretrained
from edgeml_train.networks.resnet8 import resnet8
from edgeml_train.networks.scoring_autoencoder import ReconstructionScore, ScoringAutoencoder

__all__ = [
    "GlobalAveragePool",
    "ReconstructionScore",
    "ScoringAutoencoder",
    "count_parameters",
    "dense_autoencoder",
    "digit_cnn",
    "ds_cnn",
    "load_pretrained",
    "mlp",
    "mobilenet_v1",
    "resnet8",
]
