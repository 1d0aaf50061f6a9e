"""What a new user needs before the first run: doctor looks at the machine, init at the data. Neither loads Spark."""
