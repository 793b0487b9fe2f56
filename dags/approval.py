"""The question whether a candidate may be promoted: Airflow's own, whose answer can be read after a rejection too."""

from __future__ import annotations

from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator, HITLOperator


class RecordedApprovalOperator(ApprovalOperator):
    """Airflow's operator ends a rejection by skipping what is below it, and returns nothing: nobody would know who."""

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        """Keep the answer under the key of a returned value, then go on as Airflow does."""
        answer = HITLOperator.execute_complete(self, context, event)
        context["ti"].xcom_push(key="return_value", value=answer)
        return super().execute_complete(context, event)
