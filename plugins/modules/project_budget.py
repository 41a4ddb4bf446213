#!/usr/bin/python
"""An AWS Budget for the project: mail before the month gets expensive."""

from __future__ import annotations

DOCUMENTATION = """
module: project_budget
short_description: A monthly budget for what bears the Project tag
description:
  - Makes a budget named like the project that counts what bears its Project tag, and sends mail at 80 % of the amount spent and at 100 %
    forecast. What differs is made anew (AWS keeps no history of a budget that matters here). 0 removes the budget.
  - A mail is all that happens; nothing is stopped.
options:
  project: {description: Value of the Project tag and name of the budget, type: str, required: true}
  monthly_usd: {description: US dollars a month. 0 removes the budget, type: float, required: true}
  email: {description: Who gets the mail, type: str, default: ''}
author: [The project's authors]
"""

EXAMPLES = """
- name: Mail before it gets expensive
  project_budget:
    project: notebooks
    monthly_usd: 100
    email: ann@example.org
"""

RETURN = """
plan: {description: "What was done, or in check mode would be, in words", type: list, returned: always}
spent: {description: What was spent this month in US dollars as AWS knows, type: str, returned: when there was a budget}
"""

from typing import Any

try:
    import botocore.exceptions as aws
except ImportError:
    pass  # AnsibleAWSModule says so in its own words

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

ALARMS = {"ACTUAL": 80.0, "FORECASTED": 100.0}


class Refused(Exception):
    """The budget of this name is not the project's."""


def wanted(options: dict[str, Any]) -> dict[str, Any]:
    """The budget as AWS takes it."""
    return {
        "BudgetName": options["project"],
        "BudgetType": "COST",
        "TimeUnit": "MONTHLY",
        "BudgetLimit": {"Amount": f"{options['monthly_usd']:.2f}", "Unit": "USD"},
        "CostFilters": {"TagKeyValue": [f"user:Project${options['project']}"]},
    }


def notification(kind: str) -> dict[str, Any]:
    """When a mail is sent."""
    return {
        "NotificationType": kind,
        "ComparisonOperator": "GREATER_THAN",
        "Threshold": ALARMS[kind],
        "ThresholdType": "PERCENTAGE",
    }


def find(budgets: Any, account: str, options: dict[str, Any]) -> dict[str, Any]:
    """The budget as it is; nothing when there is none."""
    named = {"AccountId": account, "BudgetName": options["project"]}
    try:
        budget = budgets.describe_budget(**named)["Budget"]
    except aws.ClientError as error:
        if error.response["Error"]["Code"] == "NotFoundException":
            return {}
        raise
    if budget.get("CostFilters") != wanted(options)["CostFilters"]:
        raise Refused(
            f"The account has a budget {options['project']} that does not count the tag Project={options['project']}, so this project "
            "did not make it: rename or remove it under Billing, Budgets, in the AWS console."
        )
    mails = {}
    for one in budgets.describe_notifications_for_budget(**named).get("Notifications", []):
        who = budgets.describe_subscribers_for_notification(**named, Notification=one).get("Subscribers", [])
        mails[(one["NotificationType"], float(one["Threshold"]))] = sorted(s["Address"] for s in who)
    spent = budget.get("CalculatedSpend", {}).get("ActualSpend", {}).get("Amount", "")
    return {"usd": float(budget["BudgetLimit"]["Amount"]), "mails": mails, "spent": str(spent)}


def plan(found: dict[str, Any], options: dict[str, Any]) -> list[tuple[str, str]]:
    """What has to be done, as (step, words), in this order."""
    name, usd = options["project"], options["monthly_usd"]
    if usd == 0:
        return [("remove", f"remove the budget {name}")] if found else []
    mails = {(kind, percent): [options["email"]] for kind, percent in ALARMS.items()}
    if found and found["usd"] == round(usd, 2) and found["mails"] == mails:
        return []
    words = f"mail {options['email']} at 80 % of {usd:.2f} dollars spent and at 100 % forecast in a month"
    return [*([("remove", f"remove the former budget {name}")] if found else []), ("make", words)]


def apply(budgets: Any, account: str, steps: list[tuple[str, str]], options: dict[str, Any]) -> None:
    """Do it."""
    for step, _ in steps:
        if step == "remove":
            budgets.delete_budget(AccountId=account, BudgetName=options["project"])
        elif step == "make":
            who = [{"SubscriptionType": "EMAIL", "Address": options["email"]}]
            mails = [{"Notification": notification(kind), "Subscribers": who} for kind in ALARMS]
            budgets.create_budget(AccountId=account, Budget=wanted(options), NotificationsWithSubscribers=mails)


def ensure(budgets: Any, sts: Any, options: dict[str, Any], check_mode: bool) -> dict[str, Any]:
    """Find, plan and do."""
    account = sts.get_caller_identity()["Account"]
    found = find(budgets, account, options)
    steps = plan(found, options)
    if not check_mode:
        apply(budgets, account, steps, options)
    result = {"changed": bool(steps), "plan": [words for _, words in steps]}
    return {**result, "spent": found["spent"]} if found else result


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleAWSModule(
        argument_spec={
            "project": {"type": "str", "required": True},
            "monthly_usd": {"type": "float", "required": True},
            "email": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    options = module.params
    try:
        result = ensure(module.client("budgets"), module.client("sts"), options, module.check_mode)
    except Refused as error:
        module.fail_json(msg=str(error))
    except (aws.ClientError, aws.BotoCoreError) as error:
        module.fail_json_aws(
            error, msg=f"The budget {options['project']} is not yet as it should be; run the same command again"
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
