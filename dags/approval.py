"""Ask for approval of a candidate with Airflow's operator, and keep the decision in XCom."""

from __future__ import annotations

from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator, HITLOperator


class RecordedApprovalOperator(ApprovalOperator):
    """Ask for approval, and store the decision in XCom.

    Airflow's own operator stores no rejection. It only skips the downstream tasks.
    """

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        """Store the decision as the XCom ``return_value`` of the task, then run Airflow's operator."""
        decision = HITLOperator.execute_complete(self, context, event)
        context["ti"].xcom_push(key="return_value", value=decision)
        return super().execute_complete(context, event)
