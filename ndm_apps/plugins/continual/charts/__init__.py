"""Read-outs for streams in which known labels come with new inputs."""
