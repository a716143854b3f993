"""What must hold whoever writes: only approved credits move on, what was approved stays as it was, makers never check."""

from django.db import migrations

from canonical import triggers

REFUSE = "USING ERRCODE = 'integrity_constraint_violation'"

CREDITS = f"""
    CREATE FUNCTION credits_guard() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE given integer; unmanned boolean;
    BEGIN
        IF NEW.digest <> encode(sha256(convert_to(NEW.payload, 'UTF8')), 'hex')
           OR (NEW.payload::jsonb ->> 'total')::numeric <> NEW.total
           OR NEW.payload::jsonb ->> 'currency' <> NEW.currency
           OR (NEW.payload::jsonb ->> 'party')::bigint <> NEW.party_id
        THEN RAISE EXCEPTION 'credit %: its payload says something else than its columns', NEW.id {REFUSE};
        END IF;
        IF TG_OP = 'INSERT' THEN
            IF NEW.state NOT IN ('pending', 'stopped') THEN
                RAISE EXCEPTION 'a credit begins undecided, not %', NEW.state {REFUSE};
            END IF;
            RETURN NEW;
        END IF;
        IF OLD.digest <> NEW.digest THEN
            IF OLD.state NOT IN ('pending', 'needs_info', 'returned', 'stopped') THEN
                RAISE EXCEPTION 'credit % is %: what it says is final', NEW.id, OLD.state {REFUSE};
            END IF;
            IF NEW.revision <= OLD.revision THEN
                RAISE EXCEPTION 'credit %: an edit is a new revision', NEW.id {REFUSE};
            END IF;
        END IF;
        IF OLD.state = NEW.state THEN RETURN NEW; END IF;
        IF NEW.state = 'approved' THEN
            IF OLD.state <> 'pending' THEN
                RAISE EXCEPTION 'credit % cannot be approved from %', NEW.id, OLD.state {REFUSE};
            END IF;
            SELECT count(DISTINCT a.by_id) INTO given FROM credits_approval a
            WHERE a.credit_id = NEW.id AND a.revision = NEW.revision AND a.digest = NEW.digest AND a.decision = 'approve'
              AND a.by_id IS DISTINCT FROM NEW.made_by_id AND a.by_id IS DISTINCT FROM NEW.edited_by_id;
            SELECT count(*) = 1 INTO unmanned FROM credits_approvalrule r
            WHERE r.id = NEW.approval_rule_id AND r.state IN ('active', 'retired') AND r.stages = '[]'::jsonb;
            IF given < NEW.approvals_needed OR (NEW.approvals_needed = 0 AND NOT unmanned) THEN
                RAISE EXCEPTION 'credit % has % of % approvals', NEW.id, given, NEW.approvals_needed {REFUSE};
            END IF;
        ELSIF NEW.state = 'posting' AND OLD.state <> 'approved'
           OR NEW.state IN ('posted', 'mirrored', 'told', 'closed', 'reversed')
              AND OLD.state NOT IN ('posting', 'posted', 'mirrored', 'told', 'closed')
        THEN RAISE EXCEPTION 'credit % cannot be % from %', NEW.id, NEW.state, OLD.state {REFUSE};
        ELSIF NEW.state IN ('pending', 'needs_info', 'returned', 'rejected', 'expired', 'withdrawn', 'split', 'stopped')
          AND OLD.state NOT IN ('pending', 'needs_info', 'returned', 'stopped', 'approved')
        THEN RAISE EXCEPTION 'credit % is %: only a reversal takes it back', NEW.id, OLD.state {REFUSE};
        ELSIF OLD.state = 'approved' AND NEW.state = 'pending' AND NEW.revision <= OLD.revision
        THEN RAISE EXCEPTION 'credit %: an undone approval needs a new revision', NEW.id {REFUSE};
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER credits_move_only_when_approved BEFORE INSERT OR UPDATE ON credits_credit
    FOR EACH ROW EXECUTE FUNCTION credits_guard();
    CREATE FUNCTION credits_keep() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'credits are never deleted' {REFUSE};
    END $$;
    CREATE TRIGGER credits_are_never_deleted BEFORE DELETE ON credits_credit
    FOR EACH ROW EXECUTE FUNCTION credits_keep();
"""

APPROVALS = f"""
    CREATE FUNCTION credits_check_approval() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE it record;
    BEGIN
        SELECT * INTO it FROM credits_credit WHERE id = NEW.credit_id FOR UPDATE;
        IF it.state <> 'pending' THEN
            RAISE EXCEPTION 'credit % is %, not waiting for a decision', it.id, it.state {REFUSE};
        END IF;
        IF it.revision <> NEW.revision OR it.digest <> NEW.digest OR it.total <> NEW.total OR it.currency <> NEW.currency THEN
            RAISE EXCEPTION 'credit % has changed since it was read', it.id {REFUSE};
        END IF;
        IF NEW.by_id IN (it.made_by_id, it.edited_by_id) OR NEW.on_behalf_of_id IN (it.made_by_id, it.edited_by_id) THEN
            RAISE EXCEPTION 'credit %: the maker is not the checker', it.id {REFUSE};
        END IF;
        IF EXISTS (SELECT 1 FROM credits_creditcomment c
                   WHERE c.credit_id = it.id AND c.what = 'recusal' AND c.user_id IN (NEW.by_id, NEW.on_behalf_of_id)) THEN
            RAISE EXCEPTION 'credit %: recused', it.id {REFUSE};
        END IF;
        IF NOT EXISTS (SELECT 1 FROM auth_user u WHERE u.id = NEW.by_id AND u.is_active) THEN
            RAISE EXCEPTION 'credit %: the account is not active', it.id {REFUSE};
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER approvals_are_of_a_checker BEFORE INSERT ON credits_approval
    FOR EACH ROW EXECUTE FUNCTION credits_check_approval();
"""

RULES = f"""
    CREATE FUNCTION credits_keep_rules() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF EXISTS (SELECT 1 FROM credits_creditpolicy p WHERE p.state <> 'draft'
                   AND p.id IN (CASE WHEN TG_OP <> 'INSERT' THEN OLD.policy_id END, CASE WHEN TG_OP <> 'DELETE' THEN NEW.policy_id END))
        THEN RAISE EXCEPTION 'a policy that was approved cannot be changed; draft a new version' {REFUSE};
        END IF;
        RETURN coalesce(NEW, OLD);
    END $$;
    CREATE TRIGGER approved_policies_keep_their_rules BEFORE INSERT OR UPDATE OR DELETE ON credits_creditrule
    FOR EACH ROW EXECUTE FUNCTION credits_keep_rules();
"""

DATED = ("businesscalendar", "slaterms", "creditpolicy", "approvalrule", "approverlimit")


class Migration(migrations.Migration):
    dependencies = [("credits", "0001_initial"), ("canonical", "0003_facts")]
    operations = [
        migrations.RunSQL(
            CREDITS,
            """DROP TRIGGER credits_move_only_when_approved ON credits_credit; DROP FUNCTION credits_guard();
               DROP TRIGGER credits_are_never_deleted ON credits_credit; DROP FUNCTION credits_keep();""",
        ),
        migrations.RunSQL(
            APPROVALS,
            "DROP TRIGGER approvals_are_of_a_checker ON credits_approval; DROP FUNCTION credits_check_approval();",
        ),
        migrations.RunSQL(
            RULES,
            "DROP TRIGGER approved_policies_keep_their_rules ON credits_creditrule; DROP FUNCTION credits_keep_rules();",
        ),
        *(triggers.insert_only(f"credits_{model}") for model in ("approval", "creditcomment", "exchangerate")),
        *(triggers.in_force_is_immutable(f"credits_{model}") for model in DATED),
    ]
