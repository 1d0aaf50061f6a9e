"""Look-ups for a person or a program: one user, users like one, a cluster. Every answer is bounded and needs no stage."""
