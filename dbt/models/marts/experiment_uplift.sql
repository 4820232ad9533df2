with retries as (
    select
        account_id,
        livemode,
        'retries' as experiment,
        case when experiment_arm = 'none' then 'treated' else experiment_arm end as arm,
        count(*) as subjects,
        count(*) filter (where is_recovered) as recovered
    from {{ ref('fct_failed_payments') }}
    where case_id is not null and move in ('retry', 'both')
    group by account_id, livemode, case when experiment_arm = 'none' then 'treated' else experiment_arm end
),

subjects as (
    select
        account_id,
        livemode,
        concat('subject of ', template, ', mail ', cast(step as {{ text_type() }})) as experiment,
        variant as arm,
        {{ metric('sent_count') }} as subjects,
        {{ metric('followed_count') }} as recovered
    from {{ ref('fct_messages') }}
    where is_sent and kind = 'dunning' and variant is not null
    group by account_id, livemode, template, step, variant
),

arms as (
    select * from retries
    union all
    select * from subjects
),

controls as (
    -- Compared with: the debts left alone on purpose, or the first of the subjects.
    select
        account_id,
        livemode,
        experiment,
        min(case when experiment <> 'retries' or arm = 'holdout' then arm end) as control_arm
    from arms
    group by account_id, livemode, experiment
),

paired as (
    select
        a.account_id,
        a.livemode,
        a.experiment,
        a.arm,
        k.control_arm,
        a.subjects,
        a.recovered,
        c.subjects as control_subjects,
        c.recovered as control_recovered,
        a.recovered / cast(a.subjects as double) as share,
        c.recovered / cast(c.subjects as double) as control_share
    from arms as a
    inner join controls as k
        on a.account_id = k.account_id and a.livemode = k.livemode and a.experiment = k.experiment
    left join arms as c
        on
            a.account_id = c.account_id and a.livemode = c.livemode and a.experiment = c.experiment
            and k.control_arm = c.arm
    where k.control_arm is null or a.arm <> k.control_arm
)

select
    account_id,
    livemode,
    experiment,
    arm,
    coalesce(control_arm, 'no holdout') as control_arm,
    subjects,
    recovered,
    share as recovery_rate,
    coalesce(control_subjects, 0) as control_subjects,
    coalesce(control_recovered, 0) as control_recovered,
    control_share as control_recovery_rate,
    share - control_share as uplift,
    share - control_share
    - 1.959964 * sqrt(share * (1 - share) / subjects + control_share * (1 - control_share) / control_subjects)
        as uplift_low,
    share - control_share
    + 1.959964 * sqrt(share * (1 - share) / subjects + control_share * (1 - control_share) / control_subjects)
        as uplift_high
from paired
