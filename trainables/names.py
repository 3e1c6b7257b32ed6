"""Names with two parts: metrics (``refine/success_rate``) and parameters (``refine.kl_radius``)."""

from __future__ import annotations

from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema


class _TwoParts(str):
    """A text with a separator; the part before its first one names a stage."""

    __slots__ = ()
    separator = ""

    @property
    def stage(self) -> str:
        """The stage it belongs to; empty where none is named."""
        return self.partition(self.separator)[0] if self.separator in self else ""

    @property
    def bare(self) -> str:
        """The name within its stage."""
        return self.split(self.separator, 1)[-1]

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Read it as text, write it as plain text."""
        plain = core_schema.plain_serializer_function_ser_schema(str)
        return core_schema.no_info_after_validator_function(
            cls, core_schema.str_schema(), serialization=plain
        )


class MetricName(_TwoParts):
    """A metric of a stage: ``stage/metric``."""

    separator = "/"


class ParameterName(_TwoParts):
    """A field of a stage's configuration: ``stage.field``."""

    separator = "."
