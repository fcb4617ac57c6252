"""The only SQL of the project: one short transaction per function, one owner per state transition."""

from jobs.store.api_keys import NameTaken, NewKey, create_key, list_keys, revoke_key, use_key
from jobs.store.cancelling import AlreadyFinished, NotTheirs, request_cancel
from jobs.store.cursors import Cursor, InvalidCursor
from jobs.store.fencing import Lease, LeaseLost
from jobs.store.finishing import cancelled, fail, succeed
from jobs.store.health import ping
from jobs.store.leasing import Renewal, claim, hand_back, renew
from jobs.store.reading import Page, events, get, list_jobs, unfinished
from jobs.store.reconciling import Reconciliation, reconcile
from jobs.store.reporting import Event, record
from jobs.store.sharing import (
    Round,
    ShareStanding,
    TakenShare,
    Ticket,
    close_round,
    collect_round,
    give_losses,
    offer_round,
    share_standings,
    take_share,
    wants_share,
)
from jobs.store.submitting import (
    IdempotencyConflict,
    QueueQuotaReached,
    Submission,
    find_submitted,
    mark_woken,
    submit,
)

__all__ = [
    "AlreadyFinished",
    "Cursor",
    "Event",
    "IdempotencyConflict",
    "InvalidCursor",
    "Lease",
    "LeaseLost",
    "NameTaken",
    "NewKey",
    "NotTheirs",
    "Page",
    "QueueQuotaReached",
    "Reconciliation",
    "Renewal",
    "Round",
    "ShareStanding",
    "Submission",
    "TakenShare",
    "Ticket",
    "cancelled",
    "claim",
    "close_round",
    "collect_round",
    "create_key",
    "events",
    "fail",
    "find_submitted",
    "get",
    "give_losses",
    "hand_back",
    "list_jobs",
    "list_keys",
    "mark_woken",
    "offer_round",
    "ping",
    "reconcile",
    "record",
    "renew",
    "request_cancel",
    "revoke_key",
    "share_standings",
    "submit",
    "succeed",
    "take_share",
    "unfinished",
    "use_key",
    "wants_share",
]
