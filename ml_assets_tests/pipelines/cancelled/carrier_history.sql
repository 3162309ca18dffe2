SELECT carrier, avg(cancelled::INT) AS cancelled_share FROM history GROUP BY carrier
