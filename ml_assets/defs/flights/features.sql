-- What is known when a flight is scheduled: the flight itself, the weather of its hour, its carrier's last months.
SELECT
    b.row_id,
    b.carrier,
    b.origin,
    b.dest,
    b.distance                                      AS distance_mile,
    b.hour + b.minute / 60                          AS departure_hour,
    dayofweek(make_date(b.year, b.month, b.day))    AS weekday,
    w.temp                                          AS temperature_f,
    w.humid                                         AS humidity_pct,
    w.wind_speed                                    AS wind_speed_mph,
    w.precip                                        AS precipitation_inch,
    w.pressure                                      AS pressure_mbar,
    w.visib                                         AS visibility_mile,
    h.late_share                                    AS carrier_late_share,
    h.mean_delay_min                                AS carrier_mean_delay_min,
    h.cancelled_share                               AS carrier_cancelled_share
FROM batch b
LEFT JOIN weather w ON w.origin = b.origin AND CAST(w.time_hour AS TIMESTAMP) = b.time_hour
LEFT JOIN carrier_history h ON h.carrier = b.carrier
