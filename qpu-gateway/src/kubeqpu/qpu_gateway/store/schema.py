"""Tables of the gateway's database. A change here needs a migration; a test compares the two."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

# SQLite counts up only columns of exactly this type.
_SERIAL = BigInteger().with_variant(Integer, "sqlite")

METADATA = MetaData()

JOBS = Table(
    "jobs",
    METADATA,
    Column("sequence", _SERIAL, primary_key=True, autoincrement=True),
    Column("id", String(32), nullable=False, unique=True),
    Column("tenant", String(63), nullable=False),
    Column("idempotency_key", String(128), nullable=False),
    Column("spec_digest", String(64), nullable=False),
    Column("qpu", String(50), nullable=False),
    Column("placement", Text, nullable=False),
    # Unsigned 64-bit numbers fit no portable integer column.
    Column("seed", String(20), nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("message", Text, nullable=False),
    Column("circuits", BigInteger, nullable=False),
    Column("circuits_finished", BigInteger, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("submitted_at", Float(53), nullable=False),
    Column("started_at", Float(53)),
    Column("finished_at", Float(53)),
    Column("expires_at", Float(53)),
    Column("result_ttl_seconds", Float(53), nullable=False),
    Column("qpu_seconds", Float(53), nullable=False),
    Column("pod", String(253), nullable=False, server_default=""),
    Column("pod_uid", String(64), nullable=False, server_default=""),
    Column("follows_pod", Boolean, nullable=False, server_default=false()),
    UniqueConstraint("tenant", "idempotency_key", name="jobs_idempotency"),
    Index("jobs_by_state", "state", "tenant"),
    Index("jobs_by_tenant", "tenant", "sequence"),
    # Of ended jobs only: a new one then has one index less to be entered in.
    Index(
        "jobs_by_expiry",
        "expires_at",
        sqlite_where=text("expires_at IS NOT NULL"),
        postgresql_where=text("expires_at IS NOT NULL"),
    ),
    sqlite_autoincrement=True,
)

# Apart from the jobs, so that reading a job's state does not drag its circuits along.
SPECS = Table(
    "specs",
    METADATA,
    Column("job_sequence", _SERIAL, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
)

# Serialized ResultChunks. `sequence` is the order in which readers get them.
CHUNKS = Table(
    "chunks",
    METADATA,
    Column("sequence", _SERIAL, primary_key=True, autoincrement=True),
    Column("job_id", String(32), nullable=False),
    Column("entry", BigInteger, nullable=False),
    Column("first_row", BigInteger, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("data", LargeBinary, nullable=False),
    UniqueConstraint("job_id", "entry", "first_row", name="chunks_rows"),
    Index("chunks_in_order", "job_id", "sequence"),
    sqlite_autoincrement=True,
)

BLOBS = Table(
    "blobs",
    METADATA,
    Column("tenant", String(63), primary_key=True),
    Column("digest", String(71), primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("expires_at", Float(53), nullable=False),
    Column("data", LargeBinary, nullable=False),
    Index("blobs_by_expiry", "expires_at"),
)

# On a server, the process that serves the gateway, and how many transactions it began: after a lost
# connection this tells whether the last of them was committed. A file needs none.
WRITERS = Table(
    "writers",
    METADATA,
    Column("id", String(32), primary_key=True),
    Column("transactions", BigInteger, nullable=False),
)

# One row per slot: whatever happens, it is on one node at most. A slot in the pool has no node, one
# that is free no pod.
SLOTS = Table(
    "slots",
    METADATA,
    Column("qpu", String(50), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("node", String(253), nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("namespace", String(63), nullable=False),
    Column("pod", String(253), nullable=False),
    Column("container", String(63), nullable=False),
    Column("pod_uid", String(64), nullable=False),
    Column("pinned_at", Float(53), nullable=False),
)
