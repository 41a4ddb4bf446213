"""AWS on a laptop: moto answers the API, containers are the instances."""
