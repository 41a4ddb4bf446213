"""What moto's budgets lack: who gets the mail."""

from __future__ import annotations

import json
from typing import Any


def apply() -> None:
    """Add DescribeSubscribersForNotification."""
    from moto.budgets.responses import BudgetsResponse

    def describe(self: Any) -> str:
        wanted = self._get_param("Notification")
        # Unknown budgets are refused by this one.
        self.backend.describe_budget(account_id=self._get_param("AccountId"), budget_name=self._get_param("BudgetName"))
        known = self.backend.budgets[self._get_param("AccountId")][self._get_param("BudgetName")].notifications
        found = [
            subscriber
            for one in known
            if all(one.details.get(key) == wanted.get(key) for key in ("NotificationType", "Threshold"))
            for subscriber in one.subscribers
        ]
        return json.dumps({"Subscribers": found})

    BudgetsResponse.describe_subscribers_for_notification = describe  # type: ignore[attr-defined]
