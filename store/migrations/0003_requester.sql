-- Requests and leases are found by their requester in an index of their own. A request and its leases have keys of the
-- same moment, so with the key before the kind they lie on one page of it, and a commit writes half as many; and since
-- a younger key is a smaller one, descending keys are appended to what a requester has, which fills pages better than
-- inserting before it.
DROP INDEX docs_owner;
CREATE INDEX docs_owner ON docs (owner, kind, key) WHERE owner <> '' AND kind NOT IN ('lease', 'request');
CREATE INDEX docs_requester ON docs (owner, key DESC, kind) WHERE kind IN ('lease', 'request');
