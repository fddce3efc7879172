# Windows DHCP server, as administrator. For all scopes; for one scope only, 'netsh dhcp server scope NETWORK set optionvalue' and
# the parameter -ScopeId NETWORK.
# The gateway serves the files: diskgate set boot.dhcp tftp && diskgate up
#
# In a command prompt: what BIOS PCs get, and the address of the script for iPXE.
netsh dhcp server add class "Diskgate iPXE" "PCs that run iPXE" "iPXE" 0 a
netsh dhcp server set optionvalue 066 STRING "10.77.0.1"
netsh dhcp server set optionvalue 067 STRING "undionly.kpxe"
netsh dhcp server set optionvalue 066 STRING user="Diskgate iPXE" "10.77.0.1"
netsh dhcp server set optionvalue 067 STRING user="Diskgate iPXE" "http://10.77.0.1:8080/boot/${netX/mac}"
#
# In PowerShell (Windows Server 2012 and later): UEFI PCs. iPXE on them is told apart by its class, as above.
Add-DhcpServerv4Class -Name 'Diskgate UEFI 7' -Type Vendor -Data 'PXEClient:Arch:00007'
Add-DhcpServerv4Class -Name 'Diskgate UEFI 9' -Type Vendor -Data 'PXEClient:Arch:00009'
Add-DhcpServerv4Policy -Name 'Diskgate iPXE' -Condition OR -UserClass EQ,'Diskgate iPXE' -ProcessingOrder 1
Set-DhcpServerv4OptionValue -PolicyName 'Diskgate iPXE' -OptionId 66 -Value '10.77.0.1'
Set-DhcpServerv4OptionValue -PolicyName 'Diskgate iPXE' -OptionId 67 -Value 'http://10.77.0.1:8080/boot/${netX/mac}'
Add-DhcpServerv4Policy -Name 'Diskgate UEFI' -Condition OR -VendorClass EQ,'Diskgate UEFI 7*','Diskgate UEFI 9*' -ProcessingOrder 2
Set-DhcpServerv4OptionValue -PolicyName 'Diskgate UEFI' -OptionId 66 -Value '10.77.0.1'
Set-DhcpServerv4OptionValue -PolicyName 'Diskgate UEFI' -OptionId 67 -Value 'snponly.efi'
