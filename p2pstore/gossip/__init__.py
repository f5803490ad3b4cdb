"""Who is in the cluster, and who holds what: cores without IO."""
