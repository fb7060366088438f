"""What is measured of every document, once: families of signals as typed, documented, versioned columns."""
