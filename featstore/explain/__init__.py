"""Why a model says what it says: by blob, and on the image."""

from featstore.explain.contributions import Contributions, blob_contributions
from featstore.explain.drawing import draw_explanations, explanations_png
from featstore.explain.encoder import encoder_of
from featstore.explain.explanation import BlobShare, Explanation
from featstore.explain.faithfulness import area_under, deletion_curve, insertion_curve, pointing
from featstore.explain.gradcam import grad_cam
from featstore.explain.networks import NetworkExplainer
from featstore.explain.picture import Picture, open_picture
from featstore.explain.store_models import StoreExplainer
from featstore.explain.stored import explain_stored

__all__ = [
    "BlobShare",
    "Contributions",
    "Explanation",
    "NetworkExplainer",
    "Picture",
    "StoreExplainer",
    "area_under",
    "blob_contributions",
    "deletion_curve",
    "draw_explanations",
    "encoder_of",
    "explain_stored",
    "explanations_png",
    "grad_cam",
    "insertion_curve",
    "open_picture",
    "pointing",
]
