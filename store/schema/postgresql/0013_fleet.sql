-- The workers of a fleet, by name.

CREATE TABLE worker (
  name     text COLLATE "C" PRIMARY KEY,
  process  text COLLATE "C" NOT NULL,
  version  text COLLATE "C" NOT NULL,
  at_once  bigint NOT NULL,
  digest   text COLLATE "C" NOT NULL,
  began_at text COLLATE "C" NOT NULL,
  seen_at  text COLLATE "C" NOT NULL,
  draining bigint NOT NULL DEFAULT 0
);
