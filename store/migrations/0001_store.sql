-- Every kind of document lives in docs. A scope is kept with a slash at its end, so that "this and everything below"
-- is one range. Leases and requests are written most often, so the indexes leave them out where others serve: leases
-- by state are found among those that have an end, and the states that most requests end in by no index.
CREATE TABLE docs (
    {rowid}
    kind  {text}  NOT NULL,
    key   {text}  NOT NULL,
    rev   BIGINT  NOT NULL,
    seq   BIGINT  NOT NULL,
    scope {text}  NOT NULL,
    owner {text}  NOT NULL,
    ref   {text}  NOT NULL,
    state {text}  NOT NULL,
    until BIGINT,
    doc   {bytes} NOT NULL
);
CREATE UNIQUE INDEX docs_key ON docs (kind, key);
CREATE INDEX docs_seq ON docs (seq) WHERE kind NOT IN ('lease', 'request');
CREATE INDEX docs_scope ON docs (kind, scope, key) WHERE scope <> '';
CREATE INDEX docs_owner ON docs (owner, kind, key) WHERE owner <> '';
CREATE INDEX docs_ref ON docs (kind, ref, key) WHERE ref <> '' AND kind <> 'lease';
CREATE INDEX docs_state ON docs (kind, state, key) WHERE state NOT IN ('', 'Approved') AND kind <> 'lease';
CREATE INDEX docs_until ON docs (kind, until, key) WHERE until IS NOT NULL AND kind <> 'lease';
CREATE INDEX docs_live ON docs (until, key, state) WHERE kind || '' = 'lease' AND until IS NOT NULL;
CREATE INDEX docs_lease ON docs (ref, state, seq) WHERE kind || '' = 'lease';

-- When each endpoint must be looked at, and who is looking. Narrow, because claims rewrite it all the time.
CREATE TABLE due (
    endpoint   {text} NOT NULL PRIMARY KEY,
    due        BIGINT NOT NULL,
    mark       BIGINT NOT NULL,
    failures   BIGINT NOT NULL,
    owner      {text} NOT NULL,
    held       BIGINT NOT NULL,
    home       {text} NOT NULL,
    home_until BIGINT NOT NULL
){narrow};
CREATE INDEX due_due ON due (due, endpoint);

CREATE TABLE events (
    pos     {pos},
    time    BIGINT  NOT NULL,
    action  {text}  NOT NULL,
    outcome {text}  NOT NULL,
    scope   {text}  NOT NULL,
    caller  {text}  NOT NULL,
    corr    {text}  NOT NULL,
    request {text}  NOT NULL,
    body    {bytes} NOT NULL
);

-- What finds events by more than their position. It is written behind the commits, many events at a time, and holds
-- the positions up to counters.indexed. Each span of positions has the times that it lies between.
CREATE TABLE event_keys (
    field BIGINT NOT NULL,
    value {text} NOT NULL,
    pos   BIGINT NOT NULL,
    PRIMARY KEY (field, value, pos)
){keys};
CREATE TABLE event_spans (
    span     {pos},
    earliest BIGINT NOT NULL,
    latest   BIGINT NOT NULL
);

CREATE TABLE log_batches (
    last      {pos},
    first     BIGINT  NOT NULL,
    head      {bytes} NOT NULL,
    signature {bytes} NOT NULL
);

-- The one row of counters. Whoever writes holds it first.
CREATE TABLE counters (
    id      {pos} CHECK (id = 1),
    seq     BIGINT  NOT NULL,
    rights  BIGINT  NOT NULL,
    pos     BIGINT  NOT NULL,
    head    {bytes} NOT NULL,
    indexed BIGINT  NOT NULL
);
INSERT INTO counters (id, seq, rights, pos, head, indexed) VALUES (1, 0, 0, 0, {zero}, 0);

{guard}
