"""The job systems that run deliveries."""
