"""The tables, the same on SQLite and PostgreSQL: what is filtered on or grouped by has a column."""

from sqlalchemy import JSON, Column, DateTime, Float, Index, Integer, MetaData, String, Table, Text

metadata = MetaData()

pairs = Table(
    "pairs",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("decision", String(16), nullable=False),
    Column("verdict", String(16), nullable=False),  # the review if there is one, else what the decision means
    Column("reason", String(64)),
    Column("margin", Float),
    Column("method", String(16), nullable=False),
    Column("ratio", Float),
    Column("seed", String(20), nullable=False),
    Column("prompt", Text, nullable=False),
    Column("image_sha256", String(64), nullable=False),
    Column("policy_model", Text, nullable=False),
    Column("policy_adapter", Text),
    Column("verifier_model", Text, nullable=False),
    Column("verifier_scorer", String(32), nullable=False),
    Column("total_s", Float, nullable=False),
    Column("schema_version", Integer, nullable=False, default=1),
    Column("pair", JSON, nullable=False),  # the whole pair, as `pairs.model.Pair` writes itself
    Index("pairs_by_decision", "decision", "id"),
    Index("pairs_by_verdict", "verdict", "id"),
    Index("pairs_by_policy", "policy_model", "policy_adapter", "id"),
    Index("pairs_by_time", "created_at"),
)

adapters = Table(
    "adapters",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("model", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("parent", String(128)),
    Column("snapshot_sha256", String(64), nullable=False),
    Column("run", String(128)),
    Column("round", Integer),
    Column("created_at", DateTime(timezone=True), nullable=False),
)

promotions = Table(
    "promotions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("model", Text, nullable=False),
    Column("adapter", String(128)),  # none: the model as it is
    Column("promoted_at", DateTime(timezone=True), nullable=False),
    Column("reason", Text, nullable=False),
    Index("promotions_by_model", "model", "id"),
)

runs = Table(
    "improvement_runs",
    metadata,
    Column("name", String(128), primary_key=True),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    Column("run", JSON, nullable=False),  # the whole run, as `pairs.runs.ImprovementRun` writes itself
)

versions = Table(
    "store_versions",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),  # of these tables; the greatest one holds
    Column("migrated_at", DateTime(timezone=True), nullable=False),
)
