"""Files become validated batches: arrivals, raw_data, validated_data, quarantine."""
