"""What is wrong with the settings that watch over costs."""

from __future__ import annotations

import re
from typing import Any

EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]+\.[^@\s]{2,}")
# Longer than this AWS does not look back with hours as the unit that the alarm uses.
MOST_HOURS = 24


def number(value: Any) -> float | None:
    """A number, or nothing."""
    try:
        return None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return None


def budget_problems(usd: Any, email: Any) -> list[str]:
    """Why there can be no such budget."""
    amount = number(usd)
    if amount is None or amount < 0:
        return [f"budget_monthly_usd is '{usd}': give US dollars a month, such as 100, or 0 for no budget."]
    if 0 < amount < 0.01:
        return [f"budget_monthly_usd is {usd}: give at least 0.01, or 0 for no budget."]
    if amount > 0 and not EMAIL.fullmatch(str(email or "")):
        return [
            f"budget_email is '{email or ''}': say who gets the mail, such as ann@example.org; without it a budget helps nobody."
        ]
    return []


def alarm_problems(hours: Any, percent: Any, idle_minutes: Any) -> list[str]:
    """Why there can be no such alarm; idle_minutes are autostop's own, 0 when it is off."""
    problems = []
    count = number(hours)
    if count is None or count != int(count) or not 1 <= count <= MOST_HOURS:
        return [f"autostop_cloudwatch_hours is '{hours}': give whole hours from 1 to {MOST_HOURS}."]
    if count * 60 < 2 * float(idle_minutes):
        problems.append(
            f"autostop_cloudwatch_hours is {hours}, and autostop itself waits {idle_minutes} minutes: give the alarm at least twice "
            "that, because it sees the CPU only, not who is at work."
        )
    share = number(percent)
    if share is None or not 0 < share <= 50:
        problems.append(f"autostop_cloudwatch_cpu_percent is '{percent}': give more than 0 and at most 50.")
    return problems


class FilterModule:
    """Ansible's entrance."""

    def filters(self) -> dict[str, Any]:
        """The filters by name."""
        return {"budget_problems": budget_problems, "idle_alarm_problems": alarm_problems}
