"""The asset graph of one pipeline. A stage is a folder and a Dagster group; an asset is a function and a lake table.

ingest       outcomes (where the YAML names them), and
             arrivals
               └─ raw_data *
                    ├─ validated_data *
                    └─ quarantine *
features     lookup_NAME *            <- validated_data
             features *               <- validated_data, lookup_NAME
             online_lookups           <- validated_data, outcomes
training     training_set             <- features, validated_data
               └─ candidate_NAME
                    └─ trained_model  <- training_set
release      evaluation_report        <- trained_model, training_set
               └─ release_candidate   <- trained_model
                    └─ champion       <- evaluation_report
scoring      predictions *            <- features, champion
             prediction_log *         <- champion (what servers have logged)
               └─ online_report *     (monitoring)
monitoring   drift_report *           <- predictions
             performance_report *     <- predictions, validated_data, outcomes

* one partition per batch; of prediction_log and online_report, one per hour. The loop champion -> drift -> training
closes through sensors, so the graph has no cycle.
"""
