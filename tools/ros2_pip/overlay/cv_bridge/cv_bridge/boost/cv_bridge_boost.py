"""The functions of the real package's compiled half, under its import path."""

from ..color import cvtColor2, cvtColorForDisplay
from ..encodings import CV_MAT_CNWrap, CV_MAT_DEPTHWrap, getCvType

__all__ = ["CV_MAT_CNWrap", "CV_MAT_DEPTHWrap", "cvtColor2", "cvtColorForDisplay", "getCvType"]
