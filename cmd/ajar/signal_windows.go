package main

import "os"

// stopSignals end ajar in good order.
var stopSignals = []os.Signal{os.Interrupt}
