"""`spec.budget`: what a replica costs, and what may be spent."""

from __future__ import annotations

from typing import Annotated, Final, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic.config import JsonDict

from pool_operator.api.base import Model
from pool_operator.api.calendars import TimeZone
from pool_operator.names import OnExhausted

MONEY_PATTERN: Final = r"^[0-9]{1,9}(\.[0-9]{1,6})?$"
Money = Annotated[str, Field(pattern=MONEY_PATTERN, max_length=20)]
AMOUNT_RULES: Final[list[JsonDict]] = [
    {
        "rule": "!has(self.soft) || !has(self.hard) || double(self.soft) <= double(self.hard)",
        "message": "`soft` must not be greater than `hard`",
    },
]


class Amounts(Model):
    """Limits of one day's or one month's money."""

    model_config = ConfigDict(json_schema_extra={"x-kubernetes-validations": [*AMOUNT_RULES]})

    soft: Money | None = Field(
        default=None,
        description="When so much is spent nothing new starts, and what runs is finished. Default: no such limit.",
    )
    hard: Money | None = Field(
        default=None,
        description="Never more than this: a job only starts if it fits even when it runs into its time-out. Default: no such limit.",
    )

    @model_validator(mode="after")
    def _soft_first(self) -> Self:
        if self.soft is not None and self.hard is not None and float(self.soft) > float(self.hard):
            raise ValueError(f"soft {self.soft} is greater than hard {self.hard}; lower the one or raise the other")
        return self


class Budget(Model):
    price_per_replica_hour: Money = Field(
        description='Price of one replica for one hour, a decimal number in your currency, for example "0.69".'
    )
    daily: Amounts | None = Field(default=None, description="Money for one day. Default: not limited by the day.")
    monthly: Amounts | None = Field(
        default=None,
        description="Money for one month; without daily.soft each day gets a share of it. Default: not limited by the month.",
    )
    time_zone: TimeZone = Field(default="UTC", description="Time zone in which days and months begin. Default: UTC.")
    on_exhausted: OnExhausted = Field(
        default=OnExhausted.PAUSE,
        description="Pause: finish what runs and go on with the next day or month; Minimum: keep minReplicas, for which money is set aside. Default: Pause.",
    )
