"""A database that has seen many jobs."""

from hashlib import md5
from uuid import UUID

from sqlalchemy import Engine, text

MODELS = 40
COMMON_MODEL, RARE_MODEL = "models/number-1", "models/rare"
"""Of the common one all but a few jobs are `osscar`."""

_EVENTS_OF_EVERY = 5

# Made by number, so that whoever asks can name any of them.
_JOBS = f"""
INSERT INTO jobs (id, state, progress, request, request_digest, model, method, ratio, dataset, submitted_by, attempt,
    max_attempts, created_at, available_at, started_at, finished_at, cancel_requested_at, dtype, perplexity_before,
    perplexity_after, parameters_before, parameters_after, cut, artifact, error)
SELECT md5(i::text)::uuid, state, CASE WHEN succeeded THEN 1 ELSE 0.4 END,
    jsonb_build_object('model', jsonb_build_object('id', model, 'revision', null), 'method', method, 'ratio', ratio,
        'ratio_of', 'channels', 'dtype', 'auto', 'weights', 'auto', 'shard_size', '5GB', 'remote_code', 'native',
        'options', '{{"damping": 0.01, "random_tokens": true, "producer_steps": 2, "refit_attention": false}}'::jsonb,
        'calibration', '{{"dataset": "wikitext2", "samples": 128, "sequence_length": 2048, "seed": 0}}'::jsonb,
        'evaluation', '{{"dataset": "wikitext2", "samples": null, "sequence_length": 2048}}'::jsonb,
        'destination', '{{"kind": "local"}}'::jsonb),
    md5(i::text) || md5(i::text), model, method, ratio, 'wikitext2', 'anonymous', 1, 3,
    moment, moment, moment + interval '3 seconds', moment + interval '10 minutes',
    CASE WHEN state = 'cancelled' THEN moment + interval '9 minutes' END, 'float32', 5 + i % 97 / 10.0,
    CASE WHEN succeeded THEN 7 + i % 97 / 10.0 END, 6738415616, CASE WHEN succeeded THEN 6131265536 - i % 9973 END,
    CASE WHEN NOT succeeded THEN NULL
        WHEN method = 'depth' THEN '{{"removed_layers": [11, 12, 13], "layers_before": 32, "layers_after": 29}}'::jsonb
        ELSE '{{"intermediate_size_before": 11008, "intermediate_size_after": 9856}}'::jsonb END,
    CASE WHEN succeeded THEN jsonb_build_object('name', 'pruned/' || i, 'location', '/registry/pruned/' || i,
        'bytes', 12262531072, 'files', (SELECT jsonb_agg(jsonb_build_object('path', 'model-' || file || '.safetensors',
            'bytes', 4999999999 - file, 'sha256', md5((i * file)::text) || md5(file::text)))
            FROM generate_series(1, 6) AS file)) END,
    CASE WHEN state = 'failed' THEN jsonb_build_object('type', '/problems/out-of-memory', 'title', 'Out of memory',
        'status', 507, 'detail', 'The pruning process was killed by signal 9. Lower calibration.samples.') END
FROM generate_series(1, :jobs) AS i,
LATERAL (SELECT i::bigint * 7919 % {MODELS} AS number,
    now() - (:jobs - i + 60) * interval '10 seconds' AS moment) AS of_number,
LATERAL (SELECT CASE WHEN i % 19997 = 0 THEN '{RARE_MODEL}' ELSE 'models/number-' || number END AS model,
    CASE WHEN number % 3 = 0 OR i % 9973 = 0 THEN 'depth' ELSE 'osscar' END AS method, 0.05 + i % 9 / 20.0 AS ratio,
    (ARRAY['failed', 'cancelled', 'failed', 'succeeded'])[least(1 + i % 20, 4)] AS state) AS labels,
LATERAL (SELECT state = 'succeeded' AS succeeded) AS outcome
"""  # noqa: S608  of numbers and names of ours
_EVENTS = f"""
INSERT INTO job_events (job_id, attempt, at, kind, data)
SELECT md5(i::text)::uuid, 1, now(), 'perplexity',
    jsonb_build_object('layer', 8 * step, 'perplexity', 6.5 + step / 10.0, 'windows', 8)
FROM generate_series({_EVENTS_OF_EVERY}, :jobs, {_EVENTS_OF_EVERY}) AS i, generate_series(1, 3) AS step
"""  # noqa: S608  of a number of ours


def fill(engine: Engine, jobs: int) -> None:
    """Add finished jobs, numbered from 1, the last the newest; every fifth has three events."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for statement in (_JOBS, _EVENTS):
            connection.execute(text(statement), {"jobs": jobs})
        connection.execute(text("VACUUM (ANALYZE)"))


def job_id(number: int) -> UUID:
    return UUID(md5(str(number).encode(), usedforsecurity=False).hexdigest())
