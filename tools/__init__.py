"""The operations of Modelsmith, each defined once. MCP, REST, the command line and the docs are derived from this table, in this order."""

from __future__ import annotations

from tools.atlas import IMPORT_MODEL, PLAN_DEPLOYMENT, RECORD_MEASUREMENT, SEARCH_MODELS, TRIAGE_TUNING
from tools.decisions import DECISION_HISTORY, RECORD_DECISION
from tools.escalate import APPROVE_FIX, ESCALATE, ESCALATIONS, RESOLVE_ESCALATION
from tools.evidence import EVIDENCE
from tools.export import EXPORT
from tools.fleet import FLEET_STATUS
from tools.lab import PHYSICS_LAB
from tools.learn import ITERATE
from tools.measure import COMPARE, DIAGNOSE, EVALUATE
from tools.onboard import ONBOARD_DOMAIN, ONBOARD_MODEL
from tools.promote import APPROVALS, APPROVE_PROMOTION, PROMOTE
from tools.propose import DECIDE_SCENARIO, PROPOSE_SCENARIO
from tools.rollback import ROLLBACK
from tools.runs import CANCEL, RUN_STATUS
from tools.tool import Tool
from tools.watchdog import WATCHDOG

TOOLS: tuple[Tool, ...] = (
    FLEET_STATUS,
    ITERATE,
    EVALUATE,
    DIAGNOSE,
    COMPARE,
    PROPOSE_SCENARIO,
    DECIDE_SCENARIO,
    PROMOTE,
    APPROVALS,
    APPROVE_PROMOTION,
    ROLLBACK,
    EVIDENCE,
    EXPORT,
    ESCALATIONS,
    ESCALATE,
    RESOLVE_ESCALATION,
    APPROVE_FIX,
    RUN_STATUS,
    CANCEL,
    WATCHDOG,
    ONBOARD_MODEL,
    ONBOARD_DOMAIN,
    PLAN_DEPLOYMENT,
    TRIAGE_TUNING,
    SEARCH_MODELS,
    PHYSICS_LAB,
    IMPORT_MODEL,
    RECORD_MEASUREMENT,
    RECORD_DECISION,
    DECISION_HISTORY,
)
