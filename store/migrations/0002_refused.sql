-- Refused events are found among all others by their outcome, which is a key of theirs alone. A replica that does not
-- know of it writes the other keys without it, so how far it was written is counted by itself.
CREATE TABLE event_marks (
    field {pos},
    pos   BIGINT NOT NULL
);
INSERT INTO event_marks (field, pos) VALUES (6, 0);
