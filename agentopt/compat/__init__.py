"""Names of other libraries over ours, so that programs written for them run when their imports are changed."""
