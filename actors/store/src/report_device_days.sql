-- What a day holds of some devices: a page of them by their ids, and of each its hours and events by the keys of those tables.
SELECT p.device_id, p.groups, p.enrolled_at, s.device_id IS NOT NULL AS "has_reported!", s.app_version AS "agent_version?",
  c.app_version AS "app_version?", coalesce(c.app_down, false) AS "is_app_down!",
  h.hours AS "hours!", h.online_s + y.online_s AS "online_s!", h.battery_hours AS "battery_hours!", h.low_hours AS "low_hours!",
  h.battery_max AS "battery_max?", h.discharging_hours AS "discharging_hours!", h.discharged AS "discharged!",
  e.went_offline AS "went_offline!", e.reboots AS "reboots!",
  a.at AS "app_at!: Vec<Timestamp>", a.down AS "app_down!: Vec<bool>"
FROM (SELECT device_id, groups, enrolled_at FROM device
      WHERE device_id > $1 AND enrolled_at < $3 AND (deleted_at IS NULL OR deleted_at >= $3)
      ORDER BY device_id LIMIT $4) p
-- One by one: a plan that does not know the size of the page would read both tables whole.
LEFT JOIN LATERAL (SELECT device_id, app_version FROM device_last_status WHERE device_id = p.device_id LIMIT 1) s ON true
LEFT JOIN LATERAL (SELECT app_version, app_down FROM device_condition WHERE device_id = p.device_id LIMIT 1) c ON true
CROSS JOIN LATERAL (
  SELECT count(*) AS hours, min(o.first_at) AS first_at,
      -- Until the next hour's first heartbeat the device was online as within an hour: for some time after each.
      coalesce(sum(o.online_s + least(extract(epoch FROM coalesce(o.next_at, $3) - o.last_at)::integer, $6)), 0)::bigint AS online_s,
      count(*) FILTER (WHERE o.battery_n > 0) AS battery_hours,
      count(*) FILTER (WHERE o.battery_n > 0 AND o.battery_sum / o.battery_n < $5) AS low_hours,
      max(o.battery_max)::float8 AS battery_max,
      count(*) FILTER (WHERE o.battery_n > 1 AND o.charging_n > 0 AND o.charging_yes = 0) AS discharging_hours,
      coalesce(sum(o.battery_max - o.battery_min) FILTER (WHERE o.battery_n > 1 AND o.charging_n > 0 AND o.charging_yes = 0), 0)::float8
          AS discharged
  FROM (SELECT online_s, first_at, last_at, lead(first_at) OVER (ORDER BY hour_at) AS next_at, battery_n, battery_min, battery_sum, battery_max,
            charging_n, charging_yes
        FROM history_hour WHERE device_id = p.device_id AND hour_at >= $2 AND hour_at < $3) o
) h
-- After midnight it was online for what was left of the time after the last heartbeat of the day before, until the first of this day.
CROSS JOIN LATERAL (
  SELECT coalesce((
      SELECT greatest(least($6 - extract(epoch FROM $2 - b.last_at)::integer, extract(epoch FROM coalesce(h.first_at, $3) - $2)::integer), 0)
      FROM history_hour b
      WHERE b.device_id = p.device_id AND b.hour_at < $2 AND b.hour_at >= $2 - ($6 + 3600) * interval '1 second'
      ORDER BY b.hour_at DESC LIMIT 1), 0)::bigint AS online_s
) y
CROSS JOIN LATERAL (
  SELECT count(*) FILTER (WHERE kind = $7) AS went_offline, count(*) FILTER (WHERE kind = $8) AS reboots
  FROM device_event WHERE device_id = p.device_id AND at >= $2 AND at < $3
) e
CROSS JOIN LATERAL (
  SELECT coalesce(array_agg(o.at ORDER BY o.at, o.device_event_id), '{}') AS at,
      coalesce(array_agg(o.kind = $9 ORDER BY o.at, o.device_event_id), '{}') AS down
  FROM (SELECT at, device_event_id, kind FROM device_event
        WHERE device_id = p.device_id AND at >= $2 AND kind IN ($9, $10) ORDER BY at, device_event_id LIMIT $11) o
) a
ORDER BY p.device_id
