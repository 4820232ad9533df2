{{ config(materialized=kept_as(), mends_by=['int_touched_cards', 'account_id', 'card_fingerprint']) }}
-- depends_on: {{ ref('int_touched_cards') }}
with windows as (
    select distinct
        network,
        keyed_by,
        window_hours
    from {{ ref('stg_cap_rules') }}
    where excess_fee_minor is not null
),

made as (
    {{ excerpt_of(
        ref('stg_network_attempts'),
        's.is_declined and (s.account_id, s.card_fingerprint) in (select t.account_id, t.card_fingerprint from ' ~ ref('int_touched_cards') ~ ' as t)'
    ) }}
),

declined as (
    select
        charge_id as event_id,
        true as is_made,
        is_ours,
        account_id,
        livemode,
        network,
        card_fingerprint,
        amount_minor,
        currency,
        attempted_at as happened_at
    from made
    where is_declined and card_fingerprint is not null
),

mail_rules as (
    select rule
    from {{ ref('stg_cap_rules') }}
    where network = 'mail'
),

refused as (
    select
        concat('refusal:', cast(refusal_id as {{ text_type() }})) as event_id,
        false as is_made,
        true as is_ours,
        account_id,
        livemode,
        network,
        card_fingerprint,
        amount_minor,
        currency,
        refused_at as happened_at
    from {{ ref('int_cap_refusals') }}
    where
        card_fingerprint is not null
        and rule not in (select mail.rule from mail_rules as mail)
        {% if mends() %}and (account_id, card_fingerprint) in (select t.account_id, t.card_fingerprint from {{ ref('int_touched_cards') }} as t){% endif %}
),

events as (
    select * from declined
    union all
    select * from refused
),

counted as (
    select
        e.event_id,
        e.is_made,
        e.is_ours,
        e.account_id,
        e.livemode,
        e.network,
        e.card_fingerprint,
        e.happened_at,
        w.keyed_by,
        w.window_hours,
        count(b.event_id) as declined_before
    from events as e
    inner join windows as w on e.network = w.network
    left join declined as b
        on
            e.account_id = b.account_id
            and e.card_fingerprint = b.card_fingerprint
            and e.network = b.network
            and e.event_id <> b.event_id
            and b.happened_at <= e.happened_at
            and b.happened_at > e.happened_at - {{ hours('w.window_hours') }}
            and (
                w.keyed_by <> 'fingerprint_amount'
                or (e.currency = b.currency and e.amount_minor = b.amount_minor)
            )
    group by
        e.event_id, e.is_made, e.is_ours, e.account_id, e.livemode, e.network, e.card_fingerprint, e.happened_at,
        w.keyed_by, w.window_hours
)

select
    c.event_id,
    c.is_made,
    c.is_ours,
    c.account_id,
    c.livemode,
    c.network,
    c.card_fingerprint,
    c.happened_at,
    r.fee_currency,
    -- Of rules that cost the same the last by name, so that it is always the same one.
    max_by(r.rule, concat(lpad(cast(r.excess_fee_minor as {{ text_type() }}), 20, '0'), r.rule)) as rule,
    max(r.excess_fee_minor) as fee_minor
from counted as c
inner join {{ ref('stg_cap_rules') }} as r
    on
        c.network = r.network and c.keyed_by = r.keyed_by and c.window_hours = r.window_hours
        and c.happened_at >= r.valid_from and (r.valid_until is null or c.happened_at < r.valid_until)
where r.excess_fee_minor is not null and c.declined_before >= r.max_attempts
group by
    c.event_id, c.is_made, c.is_ours, c.account_id, c.livemode, c.network, c.card_fingerprint, c.happened_at,
    r.fee_currency
