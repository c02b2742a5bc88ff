"""From here on the database itself refuses to change or delete an entry of the audit log.

A later migration that makes SQLite rebuild this table (AlterField, RemoveField) drops the triggers with the old table
and has to run `put` again; `manage.py check_audit` and a test say which one is missing.

Before that, entries that named people by their usernames name them by their ids, and reasons of labels, which the
labels have, are taken out: the log tells nothing about somebody whose data are deleted.
"""

from django.db import migrations

_SAME = "id created_at actor_id verb target project_slug data address origin".split()
_REFUSED = "the audit log is append-only"

SQLITE = [
    # REPLACE deletes a row without the trigger of DELETE
    f"""CREATE TRIGGER audit_no_insert BEFORE INSERT ON core_auditevent
    WHEN NEW.position IS NOT NULL OR EXISTS (SELECT 1 FROM core_auditevent WHERE id = NEW.id)
    BEGIN SELECT RAISE(ABORT, '{_REFUSED}'); END""",
    f"""CREATE TRIGGER audit_no_change BEFORE UPDATE ON core_auditevent
    WHEN NOT (OLD.position IS NULL AND NEW.position IS NOT NULL
        AND {" AND ".join(f"NEW.{name} IS OLD.{name}" for name in _SAME)})
    BEGIN SELECT RAISE(ABORT, '{_REFUSED}'); END""",
    f"""CREATE TRIGGER audit_no_delete BEFORE DELETE ON core_auditevent
    BEGIN SELECT RAISE(ABORT, '{_REFUSED}'); END""",
]
POSTGRES = [
    f"""CREATE FUNCTION audit_append_only() RETURNS trigger LANGUAGE plpgsql AS $body$
    BEGIN
        IF TG_OP = 'INSERT' THEN
            IF NEW.position IS NULL THEN RETURN NEW; END IF;
        ELSIF TG_OP = 'UPDATE' THEN
            IF OLD.position IS NULL AND NEW.position IS NOT NULL
                AND to_jsonb(NEW) - 'position' - 'seal' = to_jsonb(OLD) - 'position' - 'seal'
            THEN RETURN NEW; END IF;
        END IF;
        RAISE EXCEPTION '{_REFUSED}' USING ERRCODE = 'integrity_constraint_violation';
    END $body$""",
    """CREATE TRIGGER audit_rows BEFORE INSERT OR UPDATE OR DELETE ON core_auditevent
    FOR EACH ROW EXECUTE FUNCTION audit_append_only()""",
    """CREATE TRIGGER audit_truncate BEFORE TRUNCATE ON core_auditevent
    FOR EACH STATEMENT EXECUTE FUNCTION audit_append_only()""",
    # also where a session says that it only replicates
    "ALTER TABLE core_auditevent ENABLE ALWAYS TRIGGER audit_rows",
    "ALTER TABLE core_auditevent ENABLE ALWAYS TRIGGER audit_truncate",
]


def put(apps, schema_editor):
    statements = SQLITE if schema_editor.connection.vendor == "sqlite" else POSTGRES
    with schema_editor.connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def lift(apps, schema_editor):
    with schema_editor.connection.cursor() as cursor:
        if schema_editor.connection.vendor == "sqlite":
            for name in ("audit_no_insert", "audit_no_change", "audit_no_delete"):
                cursor.execute(f"DROP TRIGGER IF EXISTS {name}")
        else:
            cursor.execute("DROP FUNCTION IF EXISTS audit_append_only() CASCADE")


def name_by_ids(apps, schema_editor):
    ids = dict(apps.get_model("accounts", "User").objects.values_list("username", "pk"))
    rows = apps.get_model("core", "AuditEvent").objects.filter(
        verb__regex=r"^(user|member|login_link|password|token|practice|queue|group|annotator|override|adjudication)\."
    )
    for row in rows.iterator():
        before = (row.target, dict(row.data))
        kind, _, name = row.target.partition(":")
        if kind == "user" and name in ids:
            row.target = f"user:{ids[name]}"
        if kind == "rater" and "exclusion" in row.data:
            row.target = f"exclusion:{row.data['exclusion']}"
        if row.verb.startswith(("override.", "adjudication.", "annotator.")):
            row.data.pop("reason", None)  # the label itself has it
        for key in ("members", "added", "removed"):
            if row.verb.startswith("group.") and key in row.data:
                row.data[key] = [ids[one] for one in row.data[key] if one in ids]
        if (row.target, row.data) != before:
            row.save(update_fields=["target", "data"])


class Migration(migrations.Migration):
    dependencies = [("core", "0002_audit_chain"), ("accounts", "0004_language")]

    operations = [
        migrations.RunPython(name_by_ids, migrations.RunPython.noop),
        migrations.RunPython(put, lift),
    ]
