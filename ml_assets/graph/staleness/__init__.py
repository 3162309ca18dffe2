"""What is stale and why, and the sensor that mends it. Makes no asset: it looks at those of other stages by key."""
