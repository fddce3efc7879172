# MikroTik RouterOS 7.4 or later, in its terminal. DHCP1 is the name of the DHCP server ('/ip dhcp-server print').
# The gateway serves the files: diskgate set boot.dhcp tftp && diskgate up
/ip dhcp-server network set [find] next-server=10.77.0.1 boot-file-name=undionly.kpxe
/ip dhcp-server option add name=diskgate-server code=66 value="s'10.77.0.1'"
/ip dhcp-server option add name=diskgate-efi code=67 value="s'snponly.efi'"
/ip dhcp-server option add name=diskgate-script code=67 value="s'http://10.77.0.1:8080/boot/\${netX/mac}'"
/ip dhcp-server option sets add name=diskgate-efi options=diskgate-server,diskgate-efi
/ip dhcp-server option sets add name=diskgate-script options=diskgate-server,diskgate-script
/ip dhcp-server matcher add name=diskgate-script server=DHCP1 code=77 value=iPXE option-set=diskgate-script
/ip dhcp-server matcher add name=diskgate-efi7 server=DHCP1 code=93 value=0x0007 option-set=diskgate-efi
/ip dhcp-server matcher add name=diskgate-efi9 server=DHCP1 code=93 value=0x0009 option-set=diskgate-efi
# The matchers are asked from top to bottom: the one for iPXE must stay the first.
