"""What is stale and why, and the sensor that rebuilds it. It makes no asset, and knows those of other stages by key."""
