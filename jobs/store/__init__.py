"""The only SQL of the project: one short transaction per function, one owner per state transition."""

from jobs.store.api_keys import NameTaken, NewKey, create_key, list_keys, revoke_key, use_key
from jobs.store.cancelling import AlreadyFinished, NotTheirs, request_cancel
from jobs.store.counting import Counts, count_jobs
from jobs.store.cursors import Cursor, InvalidCursor
from jobs.store.fencing import Lease, LeaseLost
from jobs.store.finishing import cancelled, fail, miss_deadline, succeed
from jobs.store.following import News, Position, has_event, news
from jobs.store.health import DatabaseHealth, check_database, ping, was_away
from jobs.store.leasing import Renewal, claim, hand_back, next_claimable, renew
from jobs.store.reading import Page, events, find_all, get, list_jobs
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
    submit,
)

__all__ = [
    "AlreadyFinished",
    "Counts",
    "Cursor",
    "DatabaseHealth",
    "Event",
    "IdempotencyConflict",
    "InvalidCursor",
    "Lease",
    "LeaseLost",
    "NameTaken",
    "NewKey",
    "News",
    "NotTheirs",
    "Page",
    "Position",
    "QueueQuotaReached",
    "Reconciliation",
    "Renewal",
    "Round",
    "ShareStanding",
    "Submission",
    "TakenShare",
    "Ticket",
    "cancelled",
    "check_database",
    "claim",
    "close_round",
    "collect_round",
    "count_jobs",
    "create_key",
    "events",
    "fail",
    "find_all",
    "find_submitted",
    "get",
    "give_losses",
    "hand_back",
    "has_event",
    "list_jobs",
    "list_keys",
    "miss_deadline",
    "news",
    "next_claimable",
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
    "use_key",
    "wants_share",
    "was_away",
]
