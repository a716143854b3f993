"""What must hold whoever writes: only approved credits move on, what was approved stays as it was, makers never check,
stages are fulfilled in order by people of the role, two approvals are two people, what an earlier revision got never counts
again, and every column that money depends on is what the approved payload says."""

from django.db import migrations

from canonical import triggers

REFUSE = "USING ERRCODE = 'integrity_constraint_violation'"

CREDITS = f"""
    CREATE FUNCTION credits_guard() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        says jsonb := NEW.payload::jsonb;
        undecided constant text[] := ARRAY['pending', 'needs_info', 'returned', 'stopped'];
        rule record; given integer; needed integer; unmanned boolean;
    BEGIN
        -- "IS NOT TRUE": a key that is missing makes the comparison NULL, not false
        IF (NEW.digest = encode(sha256(convert_to(NEW.payload, 'UTF8')), 'hex')
            AND (says ->> 'net')::numeric = NEW.net AND (says ->> 'tax')::numeric = NEW.tax
            AND (says ->> 'total')::numeric = NEW.total AND says -> 'lines' = NEW.lines
            AND says @> jsonb_build_object(
                'uid', NEW.uid, 'party', NEW.party_id, 'legal_entity', NEW.legal_entity_id, 'billing', NEW.billing_id,
                'case', NEW.case_id, 'subscription', NEW.subscription_id, 'invoice', NEW.invoice_id, 'reason', NEW.reason,
                'currency', NEW.currency, 'settlement', NEW.settlement, 'reverses', NEW.reverses_id,
                'split_from', NEW.split_from_id)
            AND says -> 'period' = jsonb_build_array(coalesce(to_char(NEW.period_start, 'YYYY-MM-DD'), ''),
                                                     coalesce(to_char(NEW.period_end, 'YYYY-MM-DD'), ''))) IS NOT TRUE
        THEN RAISE EXCEPTION 'credit %: its payload says something else than its columns', NEW.id {REFUSE};
        END IF;
        IF TG_OP = 'INSERT' THEN
            IF NEW.state NOT IN ('pending', 'stopped') THEN
                RAISE EXCEPTION 'a credit begins undecided, not %', NEW.state {REFUSE};
            END IF;
            IF NEW.origin = 'reviewer' AND NEW.made_by_id IS NULL THEN
                RAISE EXCEPTION 'a credit asked for in the back office names who asked' {REFUSE};
            END IF;
            RETURN NEW;
        END IF;

        IF ROW(OLD.uid, OLD.origin, OLD.requested_by, OLD.made_by_id) IS DISTINCT FROM
           ROW(NEW.uid, NEW.origin, NEW.requested_by, NEW.made_by_id)
           OR OLD.edited_by_id IS NOT NULL AND NEW.edited_by_id IS NULL
        THEN RAISE EXCEPTION 'credit %: who asked for it or changed it is not rewritten', NEW.id {REFUSE};
        END IF;
        IF NEW.revision < OLD.revision THEN
            RAISE EXCEPTION 'credit %: revisions only rise', NEW.id {REFUSE};
        END IF;
        IF ROW(OLD.digest, OLD.computed, OLD.edited_by_id, OLD.approval_rule_id, OLD.stages, OLD.approvals_needed,
               OLD.reporting_amount, OLD.duplicate_allowed) IS DISTINCT FROM
           ROW(NEW.digest, NEW.computed, NEW.edited_by_id, NEW.approval_rule_id, NEW.stages, NEW.approvals_needed,
               NEW.reporting_amount, NEW.duplicate_allowed)
        THEN
            IF OLD.state <> ALL (undecided) AND NOT (OLD.state = 'approved' AND NEW.state = 'pending') THEN
                RAISE EXCEPTION 'credit % is %: what it says is final', NEW.id, OLD.state {REFUSE};
            END IF;
            IF NEW.revision = OLD.revision THEN
                RAISE EXCEPTION 'credit %: an edit is a new revision', NEW.id {REFUSE};
            END IF;
        END IF;

        IF OLD.state = NEW.state THEN RETURN NEW; END IF;
        IF NEW.state = 'approved' THEN
            IF OLD.state <> 'pending' THEN
                RAISE EXCEPTION 'credit % cannot be approved from %', NEW.id, OLD.state {REFUSE};
            END IF;
            SELECT r.stages INTO rule FROM credits_approvalrule r
            WHERE r.id = NEW.approval_rule_id AND r.state IN ('active', 'retired');
            IF NOT FOUND OR (rule.stages <> NEW.stages AND rule.stages <> '[]') THEN
                RAISE EXCEPTION 'credit %: its stages are not those of an approved rule', NEW.id {REFUSE};
            END IF;
            SELECT coalesce(sum((s ->> 'count')::integer), 0) INTO needed FROM jsonb_array_elements(NEW.stages) s;
            SELECT count(DISTINCT a.by_id) INTO given FROM credits_approval a
            WHERE a.credit_id = NEW.id AND a.revision = NEW.revision AND a.digest = NEW.digest AND a.decision = 'approve'
              AND a.by_id IS DISTINCT FROM NEW.made_by_id AND a.by_id IS DISTINCT FROM NEW.edited_by_id;
            unmanned := rule.stages = '[]' AND NEW.stages = '[]' AND NEW.origin = 'sla' AND NEW.computed IS NOT NULL
                        AND NEW.revision = 1 AND NEW.reverses_id IS NULL AND NEW.split_from_id IS NULL;
            IF needed <> NEW.approvals_needed OR given < needed OR (needed = 0 AND NOT unmanned) THEN
                RAISE EXCEPTION 'credit % has % of % approvals', NEW.id, given, NEW.approvals_needed {REFUSE};
            END IF;
            IF EXISTS (SELECT 1 FROM credits_approval a
                       WHERE a.credit_id = NEW.id AND a.revision = NEW.revision AND a.decision <> 'approve') THEN
                RAISE EXCEPTION 'credit % was refused as it is', NEW.id {REFUSE};
            END IF;
        ELSIF NEW.state = 'posting' AND OLD.state <> 'approved'
           OR NEW.state IN ('posted', 'mirrored', 'told', 'closed', 'reversed')
              AND OLD.state NOT IN ('posting', 'posted', 'mirrored', 'told', 'closed')
        THEN RAISE EXCEPTION 'credit % cannot be % from %', NEW.id, NEW.state, OLD.state {REFUSE};
        ELSIF OLD.state = 'posting' AND NEW.state = 'withdrawn' THEN
            -- released, and surely not in the ERP: it holds no document of it, and no call may still bring one
            IF EXISTS (SELECT 1 FROM canonical_externalref r WHERE r.object_kind = 'credit' AND r.object_id = NEW.id
                       AND r.state = 'active' AND r.kind IN ('credit_memo', 'reversal'))
               OR EXISTS (SELECT 1 FROM hub_step s JOIN hub_run r ON r.id = s.run_id
                          WHERE r.subject_kind = 'credit' AND r.object_id = NEW.id AND s.name IN ('post', 'take_back')
                            AND s.state IN ('ready', 'running', 'unknown', 'done'))
            THEN RAISE EXCEPTION 'credit %: the ERP has it, or may get it', NEW.id {REFUSE};
            END IF;
        ELSIF NEW.state IN ('pending', 'needs_info', 'returned', 'rejected', 'expired', 'withdrawn', 'split', 'stopped')
          AND OLD.state <> 'approved' AND OLD.state <> ALL (undecided)
        THEN RAISE EXCEPTION 'credit % is %: only a reversal takes it back', NEW.id, OLD.state {REFUSE};
        ELSIF OLD.state = 'approved' AND NEW.state = 'pending' AND NEW.revision = OLD.revision
        THEN RAISE EXCEPTION 'credit %: an undone approval needs a new revision', NEW.id {REFUSE};
        ELSIF OLD.state = 'stopped' AND NEW.state = 'pending' AND NEW.duplicate_allowed = ''
        THEN RAISE EXCEPTION 'credit %: nobody has said that it is no duplicate', NEW.id {REFUSE};
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
    CREATE TRIGGER credits_are_never_truncated BEFORE TRUNCATE ON credits_credit
    FOR EACH STATEMENT EXECUTE FUNCTION credits_keep();
"""

# The ladder is that of hub.roles: each role may stand in for those before it.
APPROVALS = f"""
    CREATE FUNCTION credits_check_approval() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        it record; turn record; who bigint; given integer;
        ladder constant text[] := ARRAY['finance reviewer', 'senior finance reviewer', 'controller'];
    BEGIN
        SELECT * INTO it FROM credits_credit WHERE id = NEW.credit_id FOR UPDATE;
        IF it.state <> 'pending' AND (NEW.decision = 'approve' OR it.state NOT IN ('needs_info', 'returned', 'stopped')) THEN
            RAISE EXCEPTION 'credit % is %, not waiting for a decision', it.id, it.state {REFUSE};
        END IF;
        IF it.revision <> NEW.revision OR it.digest <> NEW.digest OR it.total <> NEW.total OR it.currency <> NEW.currency THEN
            RAISE EXCEPTION 'credit % has changed since it was read', it.id {REFUSE};
        END IF;
        FOREACH who IN ARRAY array_remove(ARRAY[NEW.by_id, NEW.on_behalf_of_id], NULL) LOOP
            IF who IN (it.made_by_id, it.edited_by_id)
               OR EXISTS (SELECT 1 FROM auth_user u WHERE u.id = who AND lower(it.requested_by) IN (lower(u.username), lower(u.email)))
            THEN RAISE EXCEPTION 'credit %: the maker is not the checker', it.id {REFUSE};
            END IF;
            IF EXISTS (SELECT 1 FROM credits_creditcomment c
                       WHERE c.credit_id = it.id AND c.what = 'recusal' AND c.user_id = who) THEN
                RAISE EXCEPTION 'credit %: recused', it.id {REFUSE};
            END IF;
            IF NOT EXISTS (SELECT 1 FROM auth_user u WHERE u.id = who AND u.is_active) THEN
                RAISE EXCEPTION 'credit %: the account is not active', it.id {REFUSE};
            END IF;
            IF EXISTS (SELECT 1 FROM credits_approval a WHERE a.credit_id = it.id AND a.revision = it.revision
                       AND (a.by_id = who OR a.on_behalf_of_id = who)) THEN
                RAISE EXCEPTION 'credit %: one decision per person, also through a delegate', it.id {REFUSE};
            END IF;
        END LOOP;
        IF (NEW.on_behalf_of_id IS NULL) <> (NEW.delegation_id IS NULL) OR NEW.delegation_id IS NOT NULL AND NOT EXISTS (
            SELECT 1 FROM credits_delegation d
            WHERE d.id = NEW.delegation_id AND d.grantor_id = NEW.on_behalf_of_id AND d.delegate_id = NEW.by_id
              AND d.revoked_at IS NULL AND d.starts_at <= clock_timestamp() AND d.ends_at > clock_timestamp()
              AND (d.legal_entity_id IS NULL OR d.legal_entity_id = it.legal_entity_id))
        THEN RAISE EXCEPTION 'credit %: no such delegation is in force', it.id {REFUSE};
        END IF;
        IF NEW.role <> ALL (ladder) OR NOT EXISTS (
            SELECT 1 FROM auth_user_groups m JOIN auth_group g ON g.id = m.group_id
            WHERE m.user_id = coalesce(NEW.on_behalf_of_id, NEW.by_id) AND g.name = NEW.role)
        THEN RAISE EXCEPTION 'credit %: not decided in a role of that person', it.id {REFUSE};
        END IF;

        SELECT count(*) INTO given FROM credits_approval a
        WHERE a.credit_id = it.id AND a.revision = it.revision AND a.decision = 'approve';
        SELECT s.number, s.role INTO turn FROM (
            SELECT n AS number, e ->> 'role' AS role, sum((e ->> 'count')::integer) OVER (ORDER BY n) AS upto
            FROM jsonb_array_elements(it.stages) WITH ORDINALITY AS each(e, n)) s
        WHERE s.upto > given ORDER BY s.number LIMIT 1;
        IF NEW.decision = 'approve' THEN
            IF (array_position(ladder, NEW.role::text) >= array_position(ladder, turn.role)) IS NOT TRUE THEN
                RAISE EXCEPTION 'credit % waits for %, not for a %', it.id, coalesce(turn.role, 'nobody'), NEW.role {REFUSE};
            END IF;
            NEW.stage := turn.number;
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER approvals_are_of_a_checker BEFORE INSERT ON credits_approval
    FOR EACH ROW EXECUTE FUNCTION credits_check_approval();
"""

DELEGATIONS = f"""
    CREATE FUNCTION credits_keep_delegations() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'INSERT' THEN
            IF NEW.made_by_id = NEW.delegate_id THEN
                RAISE EXCEPTION 'nobody delegates to themselves' {REFUSE};
            END IF;
            RETURN NEW;
        END IF;
        IF TG_OP = 'DELETE' OR OLD.revoked_at IS NOT NULL
           OR (to_jsonb(OLD) - 'revoked_at') IS DISTINCT FROM (to_jsonb(NEW) - 'revoked_at')
        THEN RAISE EXCEPTION 'a delegation is only ever ended; grant another one' {REFUSE};
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER delegations_are_only_ended BEFORE INSERT OR UPDATE OR DELETE ON credits_delegation
    FOR EACH ROW EXECUTE FUNCTION credits_keep_delegations();
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
    dependencies = [("credits", "0001_initial"), ("canonical", "0003_facts"), ("hub", "0003_indexes")]
    operations = [
        migrations.RunSQL(
            CREDITS,
            """DROP TRIGGER credits_move_only_when_approved ON credits_credit; DROP FUNCTION credits_guard();
               DROP TRIGGER credits_are_never_deleted ON credits_credit;
               DROP TRIGGER credits_are_never_truncated ON credits_credit; DROP FUNCTION credits_keep();""",
        ),
        migrations.RunSQL(
            APPROVALS,
            "DROP TRIGGER approvals_are_of_a_checker ON credits_approval; DROP FUNCTION credits_check_approval();",
        ),
        migrations.RunSQL(
            DELEGATIONS,
            "DROP TRIGGER delegations_are_only_ended ON credits_delegation; DROP FUNCTION credits_keep_delegations();",
        ),
        migrations.RunSQL(
            RULES,
            "DROP TRIGGER approved_policies_keep_their_rules ON credits_creditrule; DROP FUNCTION credits_keep_rules();",
        ),
        *(triggers.insert_only(f"credits_{model}") for model in ("approval", "creditcomment", "exchangerate")),
        *(triggers.in_force_is_immutable(f"credits_{model}") for model in DATED),
    ]
