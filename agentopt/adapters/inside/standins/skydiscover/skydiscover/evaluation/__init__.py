"""Results of evaluators."""

from skydiscover.evaluation.evaluation_result import EvaluationResult

__all__ = ["EvaluationResult"]
