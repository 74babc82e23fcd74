// Package machines shows machines in Azure's words: as virtual machines with their neighbours in Microsoft.Network, and how they
// stand to Microsoft.Security's assessment and to Azure's policy of just-in-time access. All of it are views; what is written
// is refused, but for a machine's tags and its removal.
package machines
